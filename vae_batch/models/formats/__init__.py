"""Checkpoint formats: files to networks.

Whatever cannot be loaded raises ``CheckpointError``, whose message says what to do.
"""
