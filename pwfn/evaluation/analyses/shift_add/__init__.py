"""Count multiplications, and the shifts and adds that replace them."""
