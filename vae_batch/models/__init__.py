"""Floor 3: autoencoders, extractors, reference sets and sampling (Keras, imported lazily)."""
