"""Compute a draw of weights: one interface, one implementation for each kind of device."""

from pwfn.bayesian.kernels.choice import AUTO, backend, choose_kernels, installed_kernels
from pwfn.bayesian.kernels.interface import Gaussian, Kernels

__all__ = ["AUTO", "Gaussian", "Kernels", "backend", "choose_kernels", "installed_kernels"]
