"""Files, local or remote: read, hashed, copied and identified by content.

Nothing here knows what a checkpoint is: formats and checkpoints both build on this room.
"""
