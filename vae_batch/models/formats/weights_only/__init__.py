"""Weight files without an architecture."""
