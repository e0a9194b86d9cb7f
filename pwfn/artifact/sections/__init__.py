"""Code the weights and sigmas of a network as sections of bytes, and decode them."""
