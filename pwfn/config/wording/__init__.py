"""Word what is wrong with a command line or a value, and what to type instead."""
