"""Floor 4: stages, the serial and the Ray executor, the driver."""
