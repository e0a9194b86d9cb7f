"""Which parameters of a model are quantised, which are not, and why; said for every run."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table
from torch import nn

from pwfn.posterior import QUANTISED_NAMES, QUANTISED_TYPES, quantised_tensors

WARN_ABOVE = 0.05  # share of uncovered parameters from which the report is a warning


@dataclass(frozen=True)
class Uncovered:
    """A parameter that stays in floating point."""

    name: str
    size: int
    reason: str


@dataclass(frozen=True)
class Coverage:
    """Sizes are numbers of parameters, tied ones counted once."""

    total: int
    quantised: dict[str, int]
    uncovered: list[Uncovered]
    tied: list[str]
    normalised: list[str]

    @property
    def share(self) -> float:
        """Quantised parameters over all."""
        return sum(self.quantised.values()) / self.total

    def sentence(self) -> str:
        """One line for the console."""
        covered = sum(self.quantised.values())
        text = f"{covered:,} of {self.total:,} parameters ({100 * self.share:.2f} %) share the codebook"
        by_reason: dict[str, int] = {}
        for one in self.uncovered:
            by_reason[one.reason] = by_reason.get(one.reason, 0) + one.size
        rest = ", ".join(f"{size:,} {reason}" for reason, size in sorted(by_reason.items(), key=lambda x: -x[1]))
        return f"{text}; in floating point stay {rest}" if rest else text

    def warnings(self) -> list[str]:
        """What a user should know before trusting the figures."""
        lines = []
        if 1 - self.share > WARN_ABOVE:
            largest = sorted(self.uncovered, key=lambda u: -u.size)[:5]
            names = ", ".join(f"{u.name} ({u.size:,})" for u in largest)
            lines.append(f"{100 * (1 - self.share):.1f} % of the parameters are not quantised; the largest: {names}")
        if self.normalised:
            lines.append(
                f"{len(self.normalised)} modules normalise their weight in forward ({', '.join(self.normalised[:3])} ...): "
                "the stored weights share the codebook, the weights that are multiplied with do not"
            )
        return lines

    def table(self, largest: int = 10) -> Table:
        """The largest quantised and all kinds of uncovered parameters."""
        table = Table(title=self.sentence(), title_justify="left")
        for name, justify in (("parameter", "left"), ("size", "right"), ("quantised", "left")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for name, size in sorted(self.quantised.items(), key=lambda item: -item[1])[:largest]:
            table.add_row(name, f"{size:,}", "yes")
        for one in sorted(self.uncovered, key=lambda u: -u.size)[:largest]:
            table.add_row(one.name, f"{one.size:,}", f"no: {one.reason}")
        return table


def coverage(model: nn.Module) -> Coverage:
    """The report of a model that `to_bayesian` has converted."""
    tensors = quantised_tensors(model)
    gaussian = {id(t.mu) for t in tensors} | {id(t.gaussian.sigma) for t in tensors}
    quantised = {t.name: t.mu.numel() for t in tensors}
    uncovered, names_of, normalised = [], dict[int, list[str]](), []
    for module_name, module in model.named_modules():
        if _normalises(module):
            normalised.append(module_name)
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in gaussian:
                continue
            full = f"{module_name}.{name}" if module_name else name
            first = id(parameter) not in names_of
            names_of.setdefault(id(parameter), []).append(full)
            if first:
                uncovered.append(Uncovered(full, parameter.numel(), _reason(module, name)))
    total = sum(quantised.values()) + sum(u.size for u in uncovered)
    return Coverage(total, quantised, uncovered, _tied(model), normalised)


def _reason(module: nn.Module, name: str) -> str:
    if isinstance(module, QUANTISED_TYPES) and name in QUANTISED_NAMES:
        return "excluded by configuration"
    kind = type(module).__name__
    if isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm) or "Norm" in kind:
        return "of normalisation layers"
    if isinstance(module, nn.RNNBase | nn.Embedding | nn.MultiheadAttention):
        return f"of {kind} (neither linear nor convolution)"
    return "held by a module directly (embeddings, tokens, layer scales)"


def _tied(model: nn.Module) -> list[str]:
    """Further names of quantised tensors that are counted under their first name."""
    from pwfn.posterior import _names

    first = {id(t.gaussian): t.name for t in quantised_tensors(model)}
    return [f"{name} = {first[id(g)]}" for _, name, _, g in _names(model) if first[id(g)] != name]


def _normalises(module: nn.Module) -> bool:
    from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame

    return isinstance(module, StdConv2d | StdConv2dSame | ScaledStdConv2d | ScaledStdConv2dSame)
