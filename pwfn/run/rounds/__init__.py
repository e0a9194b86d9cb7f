"""Go through the rounds of a run: train, test, cluster, record."""
