"""Build timm models with weights from anywhere, and measure them."""

from pwfn.models.timm_model import ModelSpec, Quantize
from pwfn.models.weight_files import ModelError

__all__ = ["ModelError", "ModelSpec", "Quantize"]
