"""Read images from their sources, one source a file."""
