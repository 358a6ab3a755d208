"""Model files that only tf.keras 2 can read."""
