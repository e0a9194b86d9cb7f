"""Hold the entry points: `pwfn`, train.py, evaluate.py, resuming, exit codes."""
