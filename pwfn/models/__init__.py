"""timm models with weights from anywhere, and what is measured on them."""

from pwfn.models.timm_model import ModelSpec, Quantize
from pwfn.models.weight_files import ModelError

__all__ = ["ModelError", "ModelSpec", "Quantize"]
