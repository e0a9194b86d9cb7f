"""What several tests use: oracles, made-up data, small runs."""
