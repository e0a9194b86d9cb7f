"""Watch what timm loads into a network that it builds: which names fit, and which classifier does not."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

# what timm logs about weights that this project says itself, in one line
_SAID_ELSEWHERE = ("Unexpected keys", "Missing keys", "Pretrained ", "No pretrained weights exist")


@dataclass
class Loaded:
    """Note what became of the state dicts that were loaded into networks built inside `watched`.

    Attributes:
        missing: names that a network has and its state dict had not.
        unexpected: names that no network has.
        misfits: a line for each tensor of another shape or kind of number than the network's.
        head_classes: classes of the classifier in the file where it is for another number than the network's, so that
            the network kept its own; else None.
    """

    missing: set[str] = field(default_factory=set)
    unexpected: set[str] = field(default_factory=set)
    misfits: list[str] = field(default_factory=list)
    head_classes: int | None = None

    def fault(self, heads: tuple[str, ...] = ()) -> str | None:
        """Say what does not fit besides the classifiers `heads`, or return None."""
        of_heads = tuple(f"{head}." for head in heads)
        lines = [f"{_few(self.misfits)}"] if self.misfits else []
        for what, names in (("missing", self.missing), ("too many", self.unexpected)):
            if wrong := sorted(name for name in names if not (of_heads and name.startswith(of_heads))):
                lines.append(f"{what} {'is' if len(wrong) == 1 else 'are'} {_few(wrong)}")
        return f"they do not fit, {'; '.join(lines)}" if lines else None


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextmanager
def watched(*, from_file: bool) -> Iterator[Loaded]:
    """Collect what fits of the state dicts loaded into networks that are built inside the block.

    timm builds a network and loads its weights in one call, which returns nothing of that and for another number of
    classes does not insist on a fit. So every module built inside the block carries hooks of torch's until it ends.

    Args:
        from_file: the state dicts are those of a user's file. They are compared with the network, which keeps its own
            classifier where that of the file is for another number of classes. By then timm has brought them into its
            own layout, so that the classifier has its name there.
    """
    loaded = Loaded()
    hooked: set[nn.Module] = set()

    def before(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        if not prefix and from_file:
            _compare(module, state, loaded)

    def after(_: nn.Module, keys: Any) -> None:
        loaded.missing.update(keys.missing_keys)
        loaded.unexpected.update(keys.unexpected_keys)

    with ExitStack() as stack:

        def hook(parent: nn.Module, *_: Any) -> None:
            if parent not in hooked:
                hooked.add(parent)
                stack.callback(parent.register_load_state_dict_pre_hook(before).remove)
                stack.callback(parent.register_load_state_dict_post_hook(after).remove)

        stack.callback(register_module_module_registration_hook(hook).remove)
        yield loaded


def heads_of(network: nn.Module) -> tuple[str, ...]:
    """List the names of the classifier layers, which are made anew for another number of classes."""
    heads = getattr(network, "pretrained_cfg", {}).get("classifier")
    return (heads,) if isinstance(heads, str) else tuple(heads or ())


def _compare(network: nn.Module, state: dict[str, Any], loaded: Loaded) -> None:
    own: Mapping[str, Tensor] = network.state_dict()
    for head in heads_of(network):
        name = f"{head}.weight"
        if name in own and isinstance(state.get(name), Tensor) and len(state[name]) != len(own[name]):
            loaded.head_classes = len(state[name])
            state |= {name: own[name] for name in (name, f"{head}.bias") if name in own}
    for name in own.keys() & state.keys():
        given, wanted = state[name], own[name]
        if given.shape != wanted.shape:
            loaded.misfits.append(f"{name} is {list(given.shape)} in the file and {list(wanted.shape)} in the network")
        elif wanted.is_floating_point() and not given.is_floating_point():
            loaded.misfits.append(f"{name} holds whole numbers ({str(given.dtype).removeprefix('torch.')})")
    loaded.misfits.sort()


@contextmanager
def timm_log() -> Iterator[list[str]]:
    """Collect warnings that timm logs inside the block instead of showing them.

    Those logged elsewhere are left out.
    """
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.getMessage().startswith(_SAID_ELSEWHERE):
                lines.append(record.getMessage())

    logger, handler = logging.getLogger("timm"), Collect(logging.WARNING)
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
