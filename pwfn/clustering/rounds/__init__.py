"""Run a round: which weights are fixed in it, and to which values they go."""
