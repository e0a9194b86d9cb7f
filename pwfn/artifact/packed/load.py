"""Build a packed model from a file, layer by layer: the float weights are never there all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from pwfn.artifact.header import Header
from pwfn.artifact.packed.lookup import Lookup, SharedTable, attach
from pwfn.artifact.packed.symbols import decode_symbols, float_weights
from pwfn.artifact.parts import DTYPES

SMALLEST = 1024  # weights: below, indices and their module would take more than they save


def load_packed(model: nn.Module, header: Header, sections: dict[str, memoryview]) -> None:
    """Fill `model`, whose parameters may be on the meta device, with packed weights and all other tensors.

    Tensors of fewer than 1,024 weights and those with free weights (of a network that is not clustered to the end) stay
    float32, as `pwfn.load` gives them.

    Args:
        model: has the tensors of `header`, names, shapes and ties checked.
        header: of the artifact.
        sections: its bytes by name; emptied, so that the file's content takes no memory while layers are made.

    Raises:
        ArtifactError: for anything that is wrong in the sections.
    """
    values = header.codebook.values()
    table = SharedTable(torch.from_numpy(values.copy()))
    content = memoryview(bytes(sections["plain"]))
    for tensor in decode_symbols(header, sections):
        if tensor.coded.free or tensor.coded.size < SMALLEST:
            _set(model, tensor.coded.names, torch.from_numpy(float_weights(tensor, values)))
        else:
            lookup = Lookup.of(table, tensor.symbols)
            for module, name in _places(model, tensor.coded.names):
                attach(module, name, lookup)
        del tensor  # or its indices would stay while those of the next are decoded
    for one in header.plain:
        stored, content = content[: one.nbytes], content[one.nbytes :]
        empty = torch.empty(one.shape, dtype=DTYPES[one.dtype])
        whole = torch.frombuffer(bytearray(stored), dtype=DTYPES[one.dtype]).reshape(one.shape) if one.nbytes else empty
        _set(model, one.names, whole)
    for filled in header.filled:
        _set(model, filled.names, torch.full(filled.shape, filled.value))


@contextmanager
def parameters_take_no_memory() -> Iterator[None]:
    """Keep parameters of modules built inside on the meta device; their buffers are made for real.

    Buffers that are in no state dict (the indices of a window's positions) have to come from the constructor.
    """

    def to_meta(_: nn.Module, __: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta:
            return None
        return nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]  # may return a parameter
    try:
        yield
    finally:
        handle.remove()


def restore_buffers(model: nn.Module, build: Callable[[], nn.Module]) -> None:
    """Fill buffers that the constructor left on the meta device, as those made beside a parameter.

    Args:
        model: with all its parameters filled.
        build: makes the same model on the CPU, which takes its float weights; called only where timm has no way of
            making such a buffer alone.
    """
    for module in model.modules():
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            getattr(module, "init_non_persistent_buffers", lambda: None)()
    left = [name for name, buffer in model.named_buffers() if buffer.is_meta]
    if left:
        made = dict(build().named_buffers())
        for name in left:
            path, _, own = name.rpartition(".")
            setattr(model.get_submodule(path), own, made[name])


def _places(model: nn.Module, names: tuple[str, ...]) -> Iterator[tuple[nn.Module, str]]:
    """Return the modules that hold a tensor, each once: a module that is shared goes by several names."""
    seen = set()
    for name in names:
        path, _, own = name.rpartition(".")
        module = model.get_submodule(path)
        if (id(module), own) not in seen:
            seen.add((id(module), own))
            yield module, own


def _set(model: nn.Module, names: tuple[str, ...], value: Tensor) -> None:
    """Put one tensor into all its places: a buffer is filled, a parameter replaced."""
    replacement: nn.Parameter | None = None
    for module, name in _places(model, names):
        present = getattr(module, name)
        if not isinstance(present, nn.Parameter):
            present.copy_(value)
            continue
        replacement = replacement or nn.Parameter(value.to(present.dtype), present.requires_grad)
        setattr(module, name, replacement)
