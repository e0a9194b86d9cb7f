"""What survives a kill: checkpoints, saved networks and the saved configuration."""

from pwfn.checkpoint.spec import CheckpointSpec

__all__ = ["CheckpointSpec"]
