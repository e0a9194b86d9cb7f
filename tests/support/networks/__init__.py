"""Networks for tests, and files of weights."""
