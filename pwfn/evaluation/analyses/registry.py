"""Choose analyses by name.

The names are keys of conf/evaluate.yaml, in the order of their tables on the console. A new analysis is a file beside
this one with a subclass of `Analysis`, a line here, and a block in conf/evaluate.yaml with its field in
`EvaluateSettings`.
"""

from __future__ import annotations

from pwfn.evaluation.analyses.analysis import Analysis
from pwfn.evaluation.analyses.batchnorm import NewStatistics
from pwfn.evaluation.analyses.codebook.prune import PrunedCodebook
from pwfn.evaluation.analyses.codebook.usage import CodebookUsage
from pwfn.evaluation.analyses.corruptions import CorruptedTestImages
from pwfn.evaluation.analyses.shift_add.report import ShiftAddCost
from pwfn.evaluation.analyses.stop_after_round import StopAfterRound
from pwfn.evaluation.analyses.weight_noise import WeightNoise
from pwfn.evaluation.settings import EvaluateSettings

ANALYSES: dict[str, type[Analysis]] = {
    "noise": WeightNoise,
    "corruptions": CorruptedTestImages,
    "frontier": StopAfterRound,
    "bill": ShiftAddCost,
    "codebook": CodebookUsage,
    "prune_codebook": PrunedCodebook,
    "batchnorm_images": NewStatistics,
}


def chosen(settings: EvaluateSettings) -> list[Analysis]:
    """Return the analyses that the settings ask for."""
    return [analysis for kind in ANALYSES.values() if (analysis := kind(settings)).wanted]
