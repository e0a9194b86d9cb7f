"""The first line of a log: what is going to be done, before PyTorch is imported."""

from __future__ import annotations

import io
import sys

import pytest

from pwfn.cli.hydra_program import begin_log
from pwfn.cli.outline import outline
from pwfn.config import resolvers
from tests.support.project import run_code


@pytest.fixture(autouse=True)
def known_resolvers() -> None:
    resolvers.register()


def test_a_run_is_named_by_its_network_its_data_and_its_method() -> None:
    line = outline(["experiment=smoke", "data=image_folder", "data.root=photos", "schedule=quick"])
    assert line == (
        "run: network test_resnet.r160_in1k, data image_folder in photos, clustering greedy, codebook additive_pow2, "
        "schedule quick"
    )


@pytest.mark.parametrize(
    ("words", "begins", "ends"),
    [
        (
            ["experiment=post_training", "budget.bits=1.5"],
            "run: network resnet18",
            "schedule one_shot, budget.bits=1.5",
        ),
        (["dry_run=true"], "dry run: network resnet18", "schedule short"),
        (["inspect=true"], "inspection: network resnet18", "schedule short"),
        (["resume=runs/mine"], "resuming the run in runs/mine", "runs/mine"),
        (["resume=auto", "hydra.run.dir=x"], "run: network resnet18", "schedule short"),
        (["-m", "seed=0,1", "sweep=pareto"], "sweep: seed=0,1 sweep=pareto", "pareto"),
        (["--multirun", "resume_sweep=x"], "sweep: resume_sweep=x", "x"),
    ],
)
def test_what_else_can_be_asked_for(words: list[str], begins: str, ends: str) -> None:
    line = outline(words)
    assert line is not None
    assert line.startswith(begins)
    assert line.endswith(ends)


@pytest.mark.parametrize("words", [["optimzer.lr=1"], ["--cfg", "job"], ["--info"], ["model=none_such"], ["a=[", "b"]])
def test_nothing_is_announced_that_is_not_going_to_be_run(words: list[str]) -> None:
    assert outline(words) is None


@pytest.mark.parametrize("budget", ["5", "off", "null"])
def test_a_budget_that_is_no_section_is_left_to_the_check_of_the_settings(budget: str) -> None:
    line = outline([f"budget={budget}"])
    assert line is not None
    assert line.endswith("schedule short")


def test_only_what_somebody_may_follow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("pwfn.records.failure.is_first_process", lambda: True)
    for stream, words, told in (
        (io.StringIO(), ["experiment=smoke"], True),
        (Terminal(), ["experiment=smoke"], False),
        (io.StringIO(), ["experiment=smoke", "quiet=true"], False),
    ):
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        monkeypatch.setattr(sys, "stdout", stream)
        begin_log(outline)
        assert (stream.getvalue() != "") == told


def test_a_log_begins_before_torch_is_imported() -> None:
    code = (
        "import sys; sys.argv[1:] = ['experiment=smoke']\n"
        "from pwfn.cli import hydra_program, train\n"
        "hydra_program.prepare(); hydra_program.begin_log(train.outline)\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    )
    done = run_code(code)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("pwfn: run: network test_resnet.r160_in1k, data synthetic, clustering greedy, ")
