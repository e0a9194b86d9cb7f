"""Report which parameters of a model are quantized, which are not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from pwfn.bayesian.gaussian_weight import GaussianWeight
from pwfn.bayesian.posterior import QUANTIZED_NAMES, QUANTIZED_TYPES, is_lazy, quantized_tensors

LAZY = "without a shape before the first forward pass"
STANDARDIZING = ("StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame")
WARN_ABOVE = 0.05  # share of uncovered parameters from which the report is a warning


@dataclass(frozen=True)
class Uncovered:
    """Name a parameter that stays in floating point.

    Attributes:
        name: of the parameter, in the model.
        size: its number of elements; 0 where it has no shape yet.
        reason: why it is not quantized, as a phrase.
    """

    name: str
    size: int
    reason: str


@dataclass(frozen=True)
class Coverage:
    """Count the parameters of a model, quantized or not; tied ones once.

    Attributes:
        total: number of parameters.
        quantized: number of parameters of every quantized tensor, by name.
        kinds: the kind of every quantized tensor ("weight of Conv2d"), by name.
        uncovered: the parameters that are not quantized.
        tied: further names of parameters that are counted under another name.
        normalized: modules that normalize their weight in forward.
    """

    total: int
    quantized: dict[str, int]
    kinds: dict[str, str]
    uncovered: list[Uncovered]
    tied: list[str]
    normalized: list[str]

    @property
    def covered(self) -> int:
        """Return the number of quantized parameters."""
        return sum(self.quantized.values())

    @property
    def share(self) -> float:
        """Return the share of quantized parameters, from 0 to 1."""
        return self.covered / self.total

    def covered_by_kind(self) -> list[tuple[str, int, int]]:
        """Return kind, tensors and parameters of what is quantized, the most parameters first."""
        return _sums((self.kinds[name], size) for name, size in self.quantized.items())

    def left_out_by_reason(self) -> list[tuple[str, int, int]]:
        """Return reason, tensors and parameters of what is not quantized, the most parameters first."""
        return _sums((one.reason, one.size) for one in self.uncovered)

    def sentence(self) -> str:
        """Summarize the coverage in one line."""
        text = f"{self.covered:,} of {self.total:,} parameters ({100 * self.share:.2f} %) share the codebook"
        rest = ", ".join(f"{size:,} {reason}" for reason, _, size in self.left_out_by_reason())
        return f"{text}; in floating point stay {rest}" if rest else text

    def warnings(self) -> list[str]:
        """Return what a user should know before trusting the figures, one line each."""
        lines = []
        if 1 - self.share > WARN_ABOVE:
            largest = sorted(self.uncovered, key=lambda u: -u.size)[:5]
            names = ", ".join(f"{u.name} ({u.size:,})" for u in largest)
            lines.append(f"{100 * (1 - self.share):.1f} % of the parameters are not quantized; the largest: {names}")
        if lazy := [one.name for one in self.uncovered if one.reason == LAZY]:
            lines.append(
                f"{len(lazy)} parameters have no shape before the first forward pass and will not be quantized: "
                f"{', '.join(lazy[:5])}"
            )
        if self.normalized:
            lines.append(
                f"{len(self.normalized)} modules normalize their weight in forward "
                f"({', '.join(self.normalized[:3])} ...): the stored weights share the codebook, the weights that are "
                "multiplied with do not"
            )
        return lines


def coverage(model: nn.Module) -> Coverage:
    """Compute the coverage of a model that `to_bayesian` has converted."""
    tensors = quantized_tensors(model)
    gaussian = {id(t.mu) for t in tensors} | {id(t.gaussian.sigma) for t in tensors}
    modules = dict(model.named_modules())
    kinds = {}
    for name in (t.name for t in tensors):
        owner, _, leaf = name.rpartition(".")
        kinds[name] = f"{leaf} of {_original_name(modules[owner])}"
    uncovered, seen, normalized = [], set[int](), []
    for module_name, module in modules.items():
        if standardizes_weight(module):
            normalized.append(module_name)
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in gaussian or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            full = f"{module_name}.{name}" if module_name else name
            uncovered.append(Uncovered(full, _size(parameter), _reason(module, name)))
    quantized = {t.name: t.mu.numel() for t in tensors}
    total = sum(quantized.values()) + sum(u.size for u in uncovered)
    return Coverage(total, quantized, kinds, uncovered, _tied(model), normalized)


def _sums(sizes: Iterable[tuple[str, int]]) -> list[tuple[str, int, int]]:
    tensors, parameters = Counter[str](), Counter[str]()
    for label, size in sizes:
        tensors[label] += 1
        parameters[label] += size
    return [(label, tensors[label], size) for label, size in parameters.most_common()]


def _size(parameter: nn.Parameter) -> int:
    return 0 if is_lazy(parameter) else parameter.numel()


def _original_name(module: nn.Module) -> str:
    """Return the name of a module's class before torch derived a parametrized one from it."""
    name = type(module).__name__
    return type(module).__mro__[1].__name__ if nn.utils.parametrize.is_parametrized(module) else name


def _reason(module: nn.Module, name: str) -> str:
    if is_lazy(module._parameters[name]):  # type: ignore[arg-type]
        return LAZY
    kind = _original_name(module)
    if isinstance(module, QUANTIZED_TYPES) and name in QUANTIZED_NAMES:
        return "excluded by configuration"
    if isinstance(module, (*QUANTIZED_TYPES, nn.utils.parametrize.ParametrizationList)):
        return "from which a layer computes its weight in forward"
    if isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm) or "Norm" in kind:
        return "of normalization layers"
    if isinstance(module, nn.RNNBase | nn.Embedding | nn.MultiheadAttention):
        return f"of {kind} (neither linear nor convolution)"
    if "Conv" in kind or "Linear" in kind:
        return f"of {kind} (a kind of its own; model.quantize.include adds it)"
    return "held by a module directly (embeddings, tokens, layer scales)"


def _tied(model: nn.Module) -> list[str]:
    """List further names of parameters counted under their first name, also of a module with two names."""
    first: dict[int, str] = {}
    tied = []
    for module_name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, GaussianWeight):
            continue
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            full = f"{module_name}.{name}" if module_name else name
            full = full.replace(".parametrizations.", ".").removesuffix(".original")
            if first.setdefault(id(parameter), full) != full:
                tied.append(f"{full} = {first[id(parameter)]}")
    return tied


def standardizes_weight(module: nn.Module) -> bool:
    """Return whether `module` is one of timm's convolutions that standardize their weight in forward.

    See arXiv:1903.10520. They are known by the names of their classes, because the method imports no timm.
    """
    return any(cls.__name__ in STANDARDIZING and cls.__module__.startswith("timm.") for cls in type(module).__mro__)
