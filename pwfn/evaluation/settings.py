"""Check the whole configuration of an evaluation: the types and rules behind `conf/evaluate.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from pwfn.data import ImageData
from pwfn.errors import Check, require, require_all
from pwfn.monitoring.loggers.spec import LoggerSpec
from pwfn.records import instead
from pwfn.value_kinds import FilePath

NOISE_KINDS = ("absolute", "relative", "sigma")


@dataclass(frozen=True)
class NoiseLevels:
    """Choose standard deviations of the noise on weights, in three units.

    `draws` noisy networks are measured at each; 0 = not measured.
    """

    switched_on_by: ClassVar[str] = "noise.draws=10"

    draws: int
    absolute: tuple[float, ...]
    relative: tuple[float, ...]
    sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        enough = self.draws == 0 or (self.draws >= 2 and any(getattr(self, kind) for kind in NOISE_KINDS))
        allowed = "an integer from 2 (one network has no band) with at least one level, or 0 (not measured)"
        require(
            self,
            draws=(enough, allowed),
            **{
                kind: (all(0 < level < inf for level in getattr(self, kind)), "numbers above 0") for kind in NOISE_KINDS
            },
        )


@dataclass(frozen=True)
class Corruptions:
    """Choose which corruptions of the test images are measured, and how strong each is.

    `conf/evaluate.yaml` has the units.
    """

    switched_on_by: ClassVar[str] = "corruptions.kinds=[noise,blur]"

    kinds: tuple[Literal["noise", "blur", "contrast", "rotation"], ...]
    noise: tuple[float, ...]
    blur: tuple[float, ...]
    contrast: tuple[float, ...]
    rotation: tuple[float, ...]

    def __post_init__(self) -> None:
        require(
            self,
            kinds=(len(set(self.kinds)) == len(self.kinds), "a list of different kinds"),
            noise=(all(0 < s < inf for s in self.noise), "numbers above 0"),
            blur=(all(0 < s <= 0.5 for s in self.blur), "numbers above 0, at most 0.5"),
            contrast=(all(0 <= s < 1 for s in self.contrast), "numbers from 0 to below 1"),
            rotation=(all(0 < s < 360 for s in self.rotation), "numbers between 0 and 360"),
        )


@dataclass(frozen=True)
class CodebookSpec:
    """Choose whether the use of the codebook is reported, and how.

    Entries of fewer than `rare` weights count as rare; `cost` is the unit in which a merge is priced.
    """

    switched_on_by: ClassVar[str] = "codebook.show=true"

    show: bool
    rare: int
    cost: Literal["sigma", "distance"]

    def __post_init__(self) -> None:
        require(self, rare=(self.rare >= 0, "an integer from 0"))


@dataclass(frozen=True)
class PruneCodebook:
    """Choose how many entries are left after the cheapest merges; None: nothing is merged."""

    switched_on_by: ClassVar[str] = "prune_codebook.max_size=16"

    max_size: int | None

    def __post_init__(self) -> None:
        require(self, max_size=(self.max_size is None or self.max_size >= 1, "an integer from 1, or null"))


NO_SUBJECT = (
    "given, or artifact or report instead: run=outputs/<date>/<time> measures a finished run, artifact=model.pwfn "
    "data=digits measures a file on these images, report=multirun compares runs on one page"
)


@dataclass(frozen=True)
class EvaluateSettings:
    """Hold the settings of one run of `evaluate.py`, each checked.

    `conf/evaluate.yaml` says what each of them means. The subject is the folder of a finished run, or an artifact and
    the data to measure it on; or a report is written.
    """

    run: FilePath | None
    artifact: FilePath | None
    report: FilePath | tuple[FilePath, ...] | None
    data_root: FilePath | None
    output: FilePath | None
    device: Literal["cpu", "gpu", "auto"]
    seed: int
    quiet: bool
    samples: int
    bins: int
    resamples: int
    noise: NoiseLevels
    compare: tuple[FilePath, ...]
    corruptions: Corruptions
    batchnorm_images: int
    frontier: bool
    bill: bool
    codebook: CodebookSpec
    prune_codebook: PruneCodebook
    logger: LoggerSpec
    data: ImageData | None = None

    @staticmethod
    def option_hint(group: str, option: str) -> str | None:
        """Suggest how to write what was meant by an option that evaluation does not have."""
        if group == "codebook" and option.lower() == "true":
            return f"for the use of the codebook write {CodebookSpec.switched_on_by}"
        if group == "trainer":
            return "an evaluation is one process, on device=cpu, gpu or auto, in the precision of the run"
        if group not in ("data", "logger"):
            return "a run is measured with the settings that it was trained with; only train.py chooses others"
        return None

    def __post_init__(self) -> None:
        require_all(self.checks())

    def checks(self) -> list[Check]:
        """Return what must hold, also between sections; each check reads its values only when it is called."""
        return [*self._subject_checks(), *self._value_checks()]

    def _subject_checks(self) -> list[Check]:
        return [
            self._only_subject,
            lambda: ("report", [], self.report != (), "a folder of runs, or a list of such folders"),
            lambda: (
                "artifact",
                self.artifact,
                self.artifact is None or Path(self.artifact).is_file(),
                f"a file model.pwfn{instead.of_artifact(Path(self.artifact)) if self.artifact is not None else ''}",
            ),
            lambda: self._data(
                self.artifact is None or self.data is not None, "given with an artifact, as in data=digits"
            ),
            lambda: self._data(self.run is None or self.data is None, "null with a run, which knows its own data"),
            lambda: self._data(self.report is None or self.data is None, "null with a report, which measures nothing"),
            lambda: (
                "compare",
                list(self.compare),
                not self.compare or self.noise.draws > 0,
                "[] where noise.draws is 0",
            ),
            lambda: ("frontier", self.frontier, not self.frontier or self.artifact is None, "false with an artifact"),
            lambda: (
                "data_root",
                self.data_root,
                self.data_root is None or self.data is None,
                "null with data: write data.root",
            ),
        ]

    def _only_subject(self) -> tuple[str, Any, bool, str]:
        given = {key: one for key in ("run", "artifact", "report") if (one := getattr(self, key)) is not None}
        key, value = next(iter(given.items()), ("run", None))
        wanted = f"null: only one of {' and '.join(given)} at a time" if given else NO_SUBJECT
        return key, value, len(given) == 1, wanted

    def _data(self, holds: bool, allowed: str) -> tuple[str, Any, bool, str]:
        return "data", self.data and type(self.data).__name__, holds, allowed

    def _value_checks(self) -> list[Check]:
        return [
            lambda: (
                "device",
                self.device,
                self.device != "gpu" or torch.cuda.is_available(),
                "cpu or auto: this machine has no CUDA device",
            ),
            lambda: ("seed", self.seed, 0 <= self.seed < 2**32, "an integer from 0 to 4294967295"),
            lambda: ("samples", self.samples, self.samples >= 0, "an integer from 0 (0 = no ensemble)"),
            lambda: (
                "batchnorm_images",
                self.batchnorm_images,
                self.batchnorm_images >= 0,
                "an integer from 0 (0 = not re-estimated)",
            ),
            lambda: ("bins", self.bins, self.bins >= 1, "an integer from 1"),
            lambda: (
                "resamples",
                self.resamples,
                self.resamples == 0 or self.resamples >= 100,
                "an integer from 100, or 0 (no intervals)",
            ),
        ]
