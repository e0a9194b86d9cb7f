"""What the programs call: train, evaluate, resume; exit codes."""
