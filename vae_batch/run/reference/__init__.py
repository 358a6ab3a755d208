"""The reference images of a run: stored once, identified by content, shared between runs."""
