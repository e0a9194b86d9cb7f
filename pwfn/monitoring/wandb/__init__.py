"""Log a run to Weights & Biases."""
