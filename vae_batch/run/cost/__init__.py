"""Estimated and measured cost of a run."""
