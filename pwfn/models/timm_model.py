"""Build any timm model by name, with its weights from the hub, from a local file, or random."""

from __future__ import annotations

import difflib
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pwfn.bayesian.posterior import to_bayesian
from pwfn.errors import one_line, require
from pwfn.hub import answering_at_once, endpoint_fault
from pwfn.models.weights import ModelError, read_weights, unmatched_keys

# what the constructors of timm's models raise for arguments that do not suit them, and its loading for a wrong file
BUILD_ERRORS = (RuntimeError, OSError, TypeError, ValueError, LookupError, AttributeError, ImportError, AssertionError)
# arguments of timm.create_model that model.args may not give
DECIDED = ("num_classes", "in_chans", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")


@dataclass(frozen=True)
class Quantize:
    """Glob patterns over parameter names, on top of the default (weight and bias of linear and convolution layers)."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """A timm model: `name` with its tag, `args` for `timm.create_model` (None values are left out)."""

    name: str
    pretrained: bool = False
    checkpoint: str | None = None
    args: dict[str, Any] = field(default_factory=dict)
    quantize: Quantize = Quantize()

    def __post_init__(self) -> None:
        if fault := endpoint_fault():
            raise ValueError(fault)
        import timm

        architecture, _, tag = self.name.partition(".")
        known = timm.is_model(architecture)
        tags = [name.partition(".")[2] for name in timm.list_pretrained(architecture)] if known else []
        if not known:
            allowed = f"the name of a timm model{_nearest(architecture, timm.list_models())}"
        else:
            allowed = f"{architecture} with one of its tags {', '.join(tags) or '(it has none)'}"
        checkpoint = self.checkpoint is None or Path(self.checkpoint).is_file()
        taken = [name for name in self.args if name in DECIDED]
        require(
            self,
            name=(known and (not tag or tag in tags), allowed),
            checkpoint=(checkpoint, "an existing file (.safetensors, .pth) with the weights"),
            pretrained=(not (self.pretrained and self.checkpoint), "false where model.checkpoint names a file"),
            args=(not taken, f"without {', '.join(taken)}, which the data and the other keys of the model decide"),
        )

    @property
    def random_weights(self) -> bool:
        """Whether neither the hub nor a file gives the weights."""
        return not self.pretrained and self.checkpoint is None

    def build(
        self, *, num_classes: int | None, in_chans: int, load_weights: bool = True, device: str = "cpu"
    ) -> nn.Module:
        """Build the network.

        Args:
            num_classes: of its classifier; None for the model's own number. For another number than that of the
                weights timm makes the classifier anew, at random.
            in_chans: color channels of its input; weights of a first layer for other channels are adapted by timm.
            load_weights: False for random weights, where those of a run are read later.
            device: "cpu", or "meta" for a network without any memory.

        Raises:
            ModelError: timm cannot build it, or the weights are missing or do not fit.
        """
        import timm

        args = {key: value for key, value in self.args.items() if value is not None}
        if num_classes is not None:
            args["num_classes"] = num_classes
        if load_weights and self.checkpoint is not None:
            weights = read_weights(Path(self.checkpoint))
            args |= {"pretrained": True, "pretrained_cfg_overlay": self._overlay(weights)}
        elif load_weights and self.pretrained:
            args |= {"pretrained": True}
        on = nullcontext() if device == "cpu" else torch.device(device)
        with answering_at_once(asked=load_weights and self.pretrained) as unreachable:
            try:
                with unmatched_keys() as (missing, unexpected), on:
                    network: nn.Module = timm.create_model(self.name, in_chans=in_chans, **args)
                self._refuse_misfits(missing, unexpected)
                return network
            except BUILD_ERRORS as error:
                raise self._failure(error, unreachable) from error

    def _failure(self, error: Exception, unreachable: str | None) -> ModelError:
        if unreachable and isinstance(error, OSError):
            return ModelError(
                f"{self.name}: its weights are not on this machine, and {unreachable}; for a file of weights that was "
                "brought here: model.pretrained=false model.checkpoint=<file>"
            )
        source = self.checkpoint or ("the hub" if self.pretrained else "random weights")
        return ModelError(f"cannot build {self.name} with weights from {source}: {one_line(error, 400)}")

    def _overlay(self, weights: dict[str, Tensor]) -> dict[str, Any]:
        """Return what timm has to know about a file: its tensors, and how many classes its head has."""
        overlay: dict[str, Any] = {"state_dict": weights}
        for head in self._heads()[:1]:
            if f"{head}.weight" in weights:
                overlay["num_classes"] = weights[f"{head}.weight"].shape[0]
        return overlay

    def _heads(self) -> tuple[str, ...]:
        """Names of the classifier layers, which are made anew for another number of classes."""
        import timm

        config = timm.get_pretrained_cfg(self.name, allow_unregistered=True)
        heads = config.classifier if config is not None else None
        return (heads,) if isinstance(heads, str) else tuple(heads or ())

    def _refuse_misfits(self, missing: set[str], unexpected: set[str]) -> None:
        """Refuse what timm loads all the same for another number of classes: half the network would be random."""
        of_heads = tuple(f"{head}." for head in self._heads())
        for what, keys in (("missing", missing), ("too many", unexpected)):
            names = sorted(key for key in keys if not key.startswith(of_heads))
            if names:
                listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                raise RuntimeError(f"they do not fit, {what} are {listed}")


def build_bayesian(
    spec: ModelSpec, *, num_classes: int | None, in_chans: int, load_weights: bool = True, device: str = "cpu"
) -> nn.Module:
    """Build the network of `spec.build`, which takes the same arguments, and make it Bayesian.

    Raises:
        ModelError: as `spec.build` does, and for a pattern of `spec.quantize` that fits nothing.
    """
    network = spec.build(num_classes=num_classes, in_chans=in_chans, load_weights=load_weights, device=device)
    try:
        to_bayesian(network, include=spec.quantize.include, exclude=spec.quantize.exclude)
    except ValueError as error:
        raise ModelError(f"model.quantize: {error}") from error
    return network


def warn_if_random(spec: ModelSpec, pretrain_epochs: int) -> None:
    """Warn if a network starts from random weights and is not trained before it is compressed."""
    if spec.random_weights and pretrain_epochs == 0:
        warnings.warn(
            f"{spec.name} starts from RANDOM weights and pretrain.epochs is 0: set model.pretrained=true, "
            "model.checkpoint=<file> or pretrain.epochs, or expect the accuracy of guessing",
            stacklevel=2,
        )


def warn_if_new_head(spec: ModelSpec, network: nn.Module, pretrain_epochs: int) -> None:
    """Warn if the classifier was made anew, for another number of classes than the weights are for.

    Args:
        spec: the network's.
        network: as built.
        pretrain_epochs: how long it is trained before anything is fixed; the advice depends on it.
    """
    of_weights = getattr(network, "pretrained_cfg", {}).get("num_classes")
    classes = getattr(network, "num_classes", of_weights)
    if spec.random_weights or of_weights == classes:
        return
    later = "" if pretrain_epochs else ": train it before anything is fixed (pretrain=short), or expect guesses"
    warnings.warn(
        f"{spec.name}: the weights are for {of_weights} classes and the data has {classes}, so the classifier is new "
        f"and RANDOM{later}",
        stacklevel=2,
    )


def data_config(network: nn.Module) -> dict[str, Any]:
    """Return timm's preprocessing of a model: input_size, interpolation, mean, std, crop_pct, crop_mode."""
    import timm

    return dict(timm.data.resolve_data_config({}, model=network))


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f"; nearest: {', '.join(close)}" if close else ""
