"""What is used of hydra._internal does what it did in Hydra 1.3 and 1.4, for which it was written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.types import RunMode

from pwfn.config import hydra_internal, resolvers
from tests.support.project import CONF


@pytest.mark.parametrize(
    ("arguments", "informs"),
    [
        (["seed=1"], False),
        (["-m", "seed=1,2"], False),
        (["--cfg", "job"], True),
        (["--help"], True),
        (["-sc", "query=bash"], True),
    ],
)
def test_flags_that_ask_for_something_else_than_a_run(arguments: list[str], informs: bool) -> None:
    flags = hydra_internal.parsed_flags(arguments)
    assert hydra_internal.only_informs(flags) is informs
    assert [word for word in arguments if "seed" in word] == [word for word in flags.overrides if "seed" in word]


def test_flags_are_found_among_words_that_hydra_does_not_know() -> None:
    assert hydra_internal.flags_of(["--own-flag", "-m", "seed=1"]).multirun


def test_a_folder_of_ones_own_comes_before_conf(tmp_path: Path) -> None:
    (tmp_path / "prior").mkdir()
    (tmp_path / "prior" / "mine.yaml").write_text("_target_: pwfn.bayesian.ConstantPrior\nsigma: 0.5\n")
    resolvers.register()
    flags = hydra_internal.parsed_flags(["--config-dir", str(tmp_path)])
    loader = hydra_internal.config_loader(CONF, flags)
    composed = loader.load_configuration("train", ["prior=mine", "seed=7"], run_mode=RunMode.RUN)
    assert (composed.prior.sigma, composed.seed) == (0.5, 7)
