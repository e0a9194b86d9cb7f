"""Count who uses which entry of the codebook, and merge entries."""
