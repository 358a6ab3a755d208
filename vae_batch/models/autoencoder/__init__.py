"""A checkpoint's networks as an autoencoder: roles decided, checked and described.

Whatever cannot be decided raises ``CheckpointError``, whose message says what to declare.
"""
