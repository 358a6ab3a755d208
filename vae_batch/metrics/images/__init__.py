"""Pixels: reconstruction errors, and what eyes look for."""
