"""Checkpoint formats: each turns files into networks, arrays in and arrays out."""
