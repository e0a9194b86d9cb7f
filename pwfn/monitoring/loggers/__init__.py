"""Log a run to files and to services, each through the same few methods."""
