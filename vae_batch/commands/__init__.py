"""The sub-commands of ``vae-batch``, their flags and exit codes; ``cli`` registers them."""
