"""Build any timm model by name, with its weights from the hub, from a local file or folder, or random."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from pwfn.bayesian.posterior import to_bayesian
from pwfn.errors import one_line, require
from pwfn.hub import answering_at_once, endpoint_fault
from pwfn.models.loading import Loaded, heads_of, timm_log, watched
from pwfn.models.model_names import DECIDED, name_fault, registered, source_of
from pwfn.models.state_dicts import prefixes_taken_off
from pwfn.models.weight_files import ModelError, read_weights
from pwfn.value_kinds import FilePath, NameOrPath

# what the constructors of timm's models raise for arguments that do not suit them, and its loading for a wrong file
BUILD_ERRORS = (
    RuntimeError,
    OSError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ImportError,
    AssertionError,
    SafetensorError,
)
Say = Callable[[str], None]


def _silent(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Quantize:
    """Choose parameters beyond, or fewer than, the weights and biases of linear and convolution layers.

    Attributes:
        include: glob patterns over parameter names, of those to quantize as well.
        exclude: glob patterns of those not to quantize, which win.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """Choose a timm model and where its weights come from.

    Attributes:
        name: of timm's registry, or `hf-hub:<repository>` or `local-dir:<folder>`, which bring their weights.
        pretrained: load the weights of the name's tag from the hub.
        checkpoint: load the weights of this file instead.
        ema: of a file with averaged and raw weights, load the averaged ones.
        args: further arguments of `timm.create_model`; None values are left out.
        quantize: which parameters share the codebook.
    """

    name: NameOrPath
    pretrained: bool = False
    checkpoint: FilePath | None = None
    ema: bool = True
    args: dict[str, Any] = field(default_factory=dict)
    quantize: Quantize = Quantize()

    def __post_init__(self) -> None:
        if fault := endpoint_fault():
            raise ValueError(fault)
        fault = name_fault(self.name)
        allowed = "an existing file (.safetensors, .pth) with the weights"
        checkpoint = self.checkpoint is None or Path(self.checkpoint).is_file()
        if self.checkpoint is not None and source_of(self.name) is not None:
            checkpoint, allowed = False, "null where model.name says where the weights are"
        taken = [name for name in self.args if name in DECIDED]
        require(
            self,
            name=(fault is None, fault or ""),
            checkpoint=(checkpoint, allowed),
            pretrained=(not (self.pretrained and self.checkpoint), "false where model.checkpoint names a file"),
            args=(not taken, f"without {', '.join(taken)}, which the data and the other keys of the model decide"),
        )

    @property
    def weights_from(self) -> str | None:
        """Name where the weights come from; None for random ones."""
        if self.checkpoint is not None:
            return self.checkpoint
        return self.name if self.pretrained or source_of(self.name) is not None else None

    @property
    def random_weights(self) -> bool:
        """Tell whether neither the hub nor a file or folder gives the weights."""
        return self.weights_from is None

    def registered(self) -> tuple[str, dict[str, Any]]:
        """Return the registry's name and arguments of this model; raise OSError for a lost source."""
        return registered(self.name, self.args)

    def build(
        self,
        *,
        num_classes: int | None,
        in_chans: int,
        load_weights: bool = True,
        device: str = "cpu",
        say: Say = _silent,
    ) -> nn.Module:
        """Build the network.

        Args:
            num_classes: of its classifier; None for the number that its weights are for. For another number than that
                of the weights the classifier is made anew, at random.
            in_chans: color channels of its input; weights of a first layer for other channels are adapted by timm.
            load_weights: False for random weights, where those of a run are read later.
            device: "cpu", or "meta" for a network without any memory.
            say: is given a line for what there is to know about the weights.

        Returns:
            The network; its `pretrained_cfg["num_classes"]` is the number of classes that the weights are for.

        Raises:
            ModelError: timm cannot build it, or the weights are missing or do not fit.
        """
        args = {key: value for key, value in self.args.items() if value is not None} | {"in_chans": in_chans}
        if num_classes is not None:
            args["num_classes"] = num_classes
        if load_weights and self.checkpoint is not None:
            return self._build_from_file(Path(self.checkpoint), args, say)
        args["pretrained"] = load_weights and not self.random_weights
        return self._create(args, say, device)[0]

    def _build_from_file(self, file: Path, args: dict[str, Any], say: Say) -> nn.Module:
        """Build the network with the weights of a file, which timm brings into its own layout first."""
        random, failures = torch.get_rng_state(), []
        for found in prefixes_taken_off(read_weights(file, ema=self.ema)):
            torch.set_rng_state(random)
            # for as many classes as the network has: so timm loads the classifier too, and `watched` sees if it fits
            overlay: dict[str, Any] = {"state_dict": found.tensors}
            if "num_classes" in args:
                overlay["num_classes"] = args["num_classes"]
            try:
                network, loaded = self._create(args | {"pretrained": True, "pretrained_cfg_overlay": overlay}, say)
            except ModelError as error:
                failures.append(error)
                continue
            if loaded.head_classes is not None and "num_classes" not in args:
                torch.set_rng_state(random)
                return self._build_from_file(file, args | {"num_classes": loaded.head_classes}, say)
            config: Any = network.pretrained_cfg
            del config["state_dict"]  # else the network would keep the whole file in memory
            config["num_classes"] = loaded.head_classes or network.num_classes
            if found.remarks:
                say(f"{file}: {'; '.join(found.remarks)}")
            return network
        raise failures[0]

    def _create(self, args: dict[str, Any], say: Say, device: str = "cpu") -> tuple[nn.Module, Loaded]:
        import timm

        from_file = "pretrained_cfg_overlay" in args
        asks_hub = source_of(self.name) == "hf-hub" or (bool(args.get("pretrained")) and self.pretrained)
        on = nullcontext() if device == "cpu" else torch.device(device)
        with answering_at_once(asked=asks_hub) as unreachable, watched(from_file=from_file) as loaded:
            try:
                with timm_log() as log, on:
                    network: nn.Module = timm.create_model(self.name, **args)
                if fault := loaded.fault(() if from_file else heads_of(network)):
                    raise RuntimeError(fault)
            except BUILD_ERRORS as error:
                if from_file and isinstance(error, KeyError):  # older timm takes the first convolution for granted
                    loaded.missing.add(str(error.args[0]))
                raise self._failure(loaded.fault() or error, unreachable, isinstance(error, OSError)) from error
        if log:
            say(f"{self.name}: {one_line(log[0])}" + (f" ({len(log) - 1} more remarks)" if len(log) > 1 else ""))
        return network, loaded

    def _failure(self, reason: object, unreachable: str | None, lost: bool) -> ModelError:
        if unreachable and lost:
            brought = "for a file of weights that was brought here: model.pretrained=false model.checkpoint=<file>"
            if source_of(self.name) is not None:
                brought = "for a repository that was brought here: model.name=local-dir:<folder>"
            return ModelError(f"{self.name}: its weights are not on this machine, and {unreachable}; {brought}")
        source = self.checkpoint or ("the hub" if self.pretrained else self.weights_from or "random weights")
        return ModelError(f"cannot build {self.name} with weights from {source}: {one_line(reason, 400)}")


def build_bayesian(
    spec: ModelSpec,
    *,
    num_classes: int | None,
    in_chans: int,
    load_weights: bool = True,
    device: str = "cpu",
    say: Say = _silent,
) -> nn.Module:
    """Build a network and make it Bayesian.

    Args:
        spec: the model, the source of its weights, and what is quantized.
        num_classes: as in `ModelSpec.build`, as are the next four.
        in_chans: color channels.
        load_weights: False for random weights.
        device: "cpu" or "meta".
        say: is given lines about the weights.

    Returns:
        The network; every sigma is 2^-30.

    Raises:
        ModelError: as `spec.build` does, and for a pattern of `spec.quantize` that fits nothing.
    """
    network = spec.build(num_classes=num_classes, in_chans=in_chans, load_weights=load_weights, device=device, say=say)
    try:
        to_bayesian(network, include=spec.quantize.include, exclude=spec.quantize.exclude)
    except ValueError as error:
        raise ModelError(f"model.quantize: {error}") from error
    return network


def data_config(network: nn.Module) -> dict[str, Any]:
    """Return timm's preprocessing of a model: input_size, interpolation, mean, std, crop_pct, crop_mode."""
    import timm

    with timm_log():  # says of gray images that mean and std are averaged, which is meant
        return dict(timm.data.resolve_data_config({}, model=network))
