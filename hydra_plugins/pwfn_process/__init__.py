"""Hold the launcher of `hydra/launcher=process`."""
