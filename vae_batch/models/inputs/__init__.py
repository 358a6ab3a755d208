"""Files as bytes, local or behind a URI: reached, hashed, brought here, and told apart.

Nothing here knows what a checkpoint is or how one is loaded: formats and checkpoints both stand on
this room.
"""
