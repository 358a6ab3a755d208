"""What ``vae-batch doctor`` finds out: environment, devices, weights, published numbers."""
