"""Answer before training: what would be quantized, what a codebook would cost."""
