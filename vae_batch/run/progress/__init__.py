"""How far a run is: counters, displays and the status of finished or remote runs."""
