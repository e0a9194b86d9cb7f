"""Optional analyses of an evaluation, one a file."""
