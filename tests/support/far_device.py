"""A device that is not the CPU, on any machine: it keeps its numbers on the CPU, and counts what a GPU would wait for.

Its tensors say that they are on torch's meta device, so code that asks takes the path of a GPU. As on a GPU, tensors of
both sides may not meet in an operation, and every number that goes to the host or comes from it is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

FAR = torch.device("meta")
DEPENDS_ON_DATA = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class FarTensor(Tensor):
    """A tensor whose numbers are in `inner`, on the CPU, and which says that it is far."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> FarTensor:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = Tensor._make_wrapper_subclass(cls, inner.shape, device=FAR, **layout)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a far tensor outside of far_device()")


class _Operations(TorchDispatchMode):
    """Carries out operations on far tensors, and counts those that make the host wait."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        is_far = [isinstance(t, FarTensor) for t in tensors]
        target = kwargs.get("device")
        goes_far = target == FAR if target is not None else any(is_far)
        crosses = any(far != goes_far for far in is_far) or (not all(is_far) and any(is_far))
        if crosses and func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            self.waits["copy"] += 1
        elif any(far != any(is_far) and t.ndim for far, t in zip(is_far, tensors, strict=True)):
            raise RuntimeError(f"{func} mixes tensors of the host and of the device")
        elif any(is_far) and _depends_on_data(func, tensors):
            self.waits[func.overloadpacket.__name__] += 1
        if target is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        near_args, near_kwargs = tree_map_only(FarTensor, lambda t: t.inner, (args, kwargs))
        result = func(*near_args, **near_kwargs)
        if not goes_far:
            return result
        result = tree_map_only(Tensor, FarTensor, result)
        return return_and_correct_aliasing(func, args, kwargs, result) if any(is_far) else result


def _depends_on_data(func: Any, tensors: list[Tensor]) -> bool:
    """Whether what comes out cannot be known before the numbers are: the host has to wait for them."""
    if func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_):
        return any(t.dtype in (torch.bool, torch.uint8) for t in tensors[1:])  # other indices say how many there are
    return bool(DEPENDS_ON_DATA & set(func.tags))


class _Lists(TorchFunctionMode):
    """The ways between tensors and Python's lists, which do not pass through operations."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], FarTensor):
            self.waits["tolist"] += 1
            return args[0].inner.tolist()
        if func is torch.tensor and kwargs.get("device") == FAR:
            return torch.tensor(*args, **{**kwargs, "device": None}).to(FAR)
        if func is Tensor.new_tensor and isinstance(args[0], FarTensor):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(FAR)
        return func(*args, **kwargs)


@contextmanager
def far_device() -> Iterator[Counter[str]]:
    """Make the far device usable: `tensor.to(FAR)` goes there, `.cpu()` comes back. Gives what the host has waited for:
    how often, by operation; a copy in either direction counts as well."""
    waits: Counter[str] = Counter()
    with _Operations(waits), _Lists(waits):
        yield waits
