"""The likelihood side: losses, bounds on log p(x), and what the latents carry."""
