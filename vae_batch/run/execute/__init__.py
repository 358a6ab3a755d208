"""Computes what is missing: the driver, its executors and the worker that both of them call."""
