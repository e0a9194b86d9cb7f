"""Find, check and decode images that lie in files of their own."""
