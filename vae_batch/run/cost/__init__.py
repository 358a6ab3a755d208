"""How long a run would take, estimated for ``--dry-run``."""
