"""Flags, exit codes and sub-commands of ``vae-batch``; the commands themselves are in ``cli``."""
