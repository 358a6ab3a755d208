"""Keras 3 model files: the ``.keras`` archive and HDF5."""
