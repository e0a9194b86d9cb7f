"""Keep the better of the networks before and after the finishing, as the validation images judge them."""

from __future__ import annotations

from collections.abc import Callable
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
    network: nn.Module,
    validate: Callable[[], Scores | None],
    before: dict[str, Tensor] | None,
    last: RoundRecord,
    finished: RoundRecord,
) -> tuple[RoundRecord, str]:
    """Put the network back as it was before the finishing, if it was right about more validation images then.

    With a tie, or without validation images, the later network is kept.

    Args:
        network: as it is after the finishing; changed in place.
        validate: returns the scores on the validation images; None where there are none.
        before: `unquantized_state` of the network before the finishing; None where that is not known.
        last: the record of the last clustering.
        finished: the record of the finishing.

    Returns:
        The record of the finishing for the network that is kept, and a line with both figures.
    """
    later = validate() if before is not None else None
    if later is None or before is None:
        figures = _figures("test", last.clustered, finished.clustered)
        return (
            finished,
            f"finishing: without validation images (data.val_fraction) the network after it is kept; {figures}",
        )
    after = unquantized_state(network)
    network.load_state_dict(before, strict=False)
    earlier = validate()
    assert earlier is not None
    figures = _figures("validation", earlier, later)
    if later.top1 < earlier.top1:
        kept = replace(finished, clustered=last.clustered)  # trained stays what was measured then
        return kept, f"finishing: the network before it is kept; {figures}"
    network.load_state_dict(after, strict=False)
    return finished, f"finishing: the network after it is kept; {figures}"


def _figures(split: str, before: Scores, after: Scores) -> str:
    return f"{split} top1 {before.top1:.2f} % before it, {after.top1:.2f} % after it"
