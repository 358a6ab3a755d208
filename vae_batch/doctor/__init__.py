"""The checks of ``vae-batch doctor``: environment, devices, weights, published numbers."""
