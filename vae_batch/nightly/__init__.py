"""Every night: score what is new, keep a history, say what got better or worse."""
