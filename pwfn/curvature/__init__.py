"""Estimate how much the loss feels a change of each weight.

For a linear map y = W x with outputs o, moving W by D changes the loss, to second order, by

    dL = 1/2 sum_o g_o D_o^T A D_o,    A = E[sum over positions of x x^T],    g_o = E[(dL/dy_o)^2], mean over positions,

the Kronecker-factored Fisher information of Martens and Grosse (2015, arXiv:1503.05671), for convolutions that of
Grosse and Martens (2016, arXiv:1602.01407), with the output factor taken diagonal. The inputs x of a convolution are
its patches; a bias is the weight of one more input, which is always 1; each group of a convolution is a map of its own.

A holds for gradients that are independent from position to position. Where they are equal, as before an average over
all positions, A is the second moment of the sum of the inputs (Eschenhagen et al. 2023, arXiv:2311.00636), and the loss
feels as many times more of a move as there are positions. `OutputFactor.mixture` says how much of each a layer has.
"""

from pwfn.curvature.input_moments import Moments, Watched, input_moments
from pwfn.curvature.kronecker_diagonal import kronecker_diagonal, kronecker_diagonals
from pwfn.curvature.layers import Layer, find_layers
from pwfn.curvature.output_factors import output_factors
from pwfn.curvature.squared_gradients import squared_gradients

__all__ = [
    "Layer",
    "Moments",
    "Watched",
    "find_layers",
    "input_moments",
    "kronecker_diagonal",
    "kronecker_diagonals",
    "output_factors",
    "squared_gradients",
]
