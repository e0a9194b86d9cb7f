"""Save a run while it goes on, and read it back: checkpoints, networks and the configuration."""

from pwfn.checkpoint.spec import CheckpointSpec

__all__ = ["CheckpointSpec"]
