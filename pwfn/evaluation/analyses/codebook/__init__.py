"""Count which tensors use which entry of the codebook, and merge entries."""
