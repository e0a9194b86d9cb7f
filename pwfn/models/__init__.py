"""timm models with weights from anywhere, and what is measured on them."""

from pwfn.models.timm_model import ModelError, ModelSpec, Quantize

__all__ = ["ModelError", "ModelSpec", "Quantize"]
