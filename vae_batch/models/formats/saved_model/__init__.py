"""TensorFlow SavedModel folders."""
