"""Probabilistic Weight Fixing: networks whose weights share one tiny codebook (arXiv:2309.13575)."""
