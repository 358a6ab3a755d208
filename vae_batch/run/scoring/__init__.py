"""From stored files to one score row: pure numbers, one thread, float64."""
