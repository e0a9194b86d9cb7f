"""How much the loss feels a change of each weight."""

from pwfn.curvature.squared_gradients import squared_gradients

__all__ = ["squared_gradients"]
