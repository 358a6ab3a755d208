"""The Inception extractors: one network in two variants, its protocols and its parity probe."""
