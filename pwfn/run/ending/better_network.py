"""Keep the better of the networks before and after the finishing, as the validation images judge them."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from pwfn.bayesian.posterior import quantized_tensors
from pwfn.records.rounds import RoundRecord, Scores


def unquantized_state(network: nn.Module) -> dict[str, Tensor]:
    """Copy everything that the finishing may change: parameters that are not quantized, and buffers."""
    quantized = {
        id(tensor)
        for each in quantized_tensors(network)
        for tensor in (each.mu, *each.gaussian.state_dict(keep_vars=True).values())
    }
    state = network.state_dict(keep_vars=True)
    return {name: value.detach().clone() for name, value in state.items() if id(value) not in quantized}


def keep_better(
    network: nn.Module, before: dict[str, Tensor] | None, last: RoundRecord, finished: RoundRecord
) -> tuple[RoundRecord, str]:
    """Undo the finishing if the network was right about more validation images before it.

    With a tie, or without validation images, the later network is kept.

    Args:
        network: as it is after the finishing; changed in place.
        before: `unquantized_state` of the network before the finishing; None where that is not known.
        last: the record of the last clustering.
        finished: the record of the finishing.

    Returns:
        The record of the finishing for the network that is kept, and a line with both figures.
    """
    earlier, later = last.clustered_val, finished.clustered_val
    if earlier is None or later is None or before is None:
        figures = _figures("test", last.clustered, finished.clustered)
        why = "without validation images (data.val_fraction)"
        if later is not None and earlier is None:
            why = "the rounds before were not judged by validation images (an earlier version), so"
        return finished, f"finishing: {why} the network after it is kept; {figures}"
    figures = _figures("validation", earlier, later)
    if later.top1 >= earlier.top1:
        return finished, f"finishing: the network after it is kept; {figures}"
    network.load_state_dict(before, strict=False)
    # trained stays what was measured then
    kept = replace(finished, clustered=last.clustered, clustered_val=earlier)
    return kept, f"finishing: the network before it is kept; {figures}"


def _figures(split: str, before: Scores, after: Scores) -> str:
    return f"{split} top1 {before.top1:.2f} % before it, {after.top1:.2f} % after it"
