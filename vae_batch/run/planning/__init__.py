"""From a specification to the units of work of one run."""
