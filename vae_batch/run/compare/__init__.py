"""Compares scored rows pairwise and selects the best checkpoint."""
