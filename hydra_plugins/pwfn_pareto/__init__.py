"""Hold the sweeper of `sweep=pareto`."""
