"""Autoencoders as arrays: what a checkpoint's networks mean, decided, probed and written down."""
