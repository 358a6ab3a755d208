"""The sample side: generated against reference activations."""
