"""Which checkpoint is better: intervals, paired differences, ranking."""
