"""Feature extractors: the Inception networks and users' own classifiers."""
