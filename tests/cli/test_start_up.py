"""What happens before a run: wrong command lines are noticed without the packages that take seconds to import."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import timm

from pwfn.cli.train import CHECKING
from pwfn.models.model_names import is_in_the_source
from tests.support.project import PROJECT, SMALL, clean_environment, run_code

HEAVY = ("pytorch_lightning", "torchmetrics", "timm", "torchvision", "numba", "scipy", "matplotlib", "wandb")


def imported(module: str, *words: str) -> tuple[int, list[str]]:
    """The exit code of a command line, and which heavy packages it has imported by then."""
    code = f"import sys; sys.argv = ['train.py', *{list(words)}]\nfrom pwfn.cli.{module} import main\n"
    code += "try:\n main()\nexcept SystemExit as stop:\n"
    code += f" print(stop.code, *[name for name in {HEAVY} if name in sys.modules])"
    done = run_code(code)
    exit_code, *names = done.stdout.splitlines()[-1].split()  # what goes before begins a log
    return int(exit_code), names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("train", ["optimzer.lr=1"]),
        ("train", ["-m", "seed=0,1", "optimizer.lr=-1"]),
        ("train", ["data=image_folder", "data.root=/nowhere"]),
        ("train", ["resume=/nowhere"]),
        ("train", ["-m", "resume_sweep=/nowhere"]),
        ("evaluate", ["run=/nowhere"]),
        ("evaluate", ["run=/nowhere", "schedule=quick"]),
    ],
)
def test_a_wrong_command_line_ends_before_anything_heavy_is_imported(module: str, words: list[str]) -> None:
    assert imported(module, *words) == (2, [])


@pytest.mark.slow
def test_every_name_of_timm_is_in_its_source_and_no_other_one() -> None:
    names = [*timm.list_models(), "resnet18.a1_in1k", "vit_base_patch16_224.augreg2_in21k_ft_in1k"]
    assert [name for name in names if not is_in_the_source(name)] == []
    for wrong in ("resnet19", "resnet18.a9_in1k", "register_model", "resnet18(", "../resnet18", "", "ResNet"):
        assert not is_in_the_source(wrong)


def at_a_terminal(folder: Path, *words: str) -> str:
    """What a terminal reads of the errors and notes of a command line."""
    reading, writing = pty.openpty()
    with os.fdopen(reading, "rb") as terminal:
        done = subprocess.Popen(
            [sys.executable, str(PROJECT / "train.py"), *words],
            cwd=folder,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=writing,
        )
        os.close(writing)
        said = b""
        while True:
            try:
                part = terminal.read1(65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            said += part
        done.wait(300)
    return said.decode()


@pytest.mark.slow
def test_a_terminal_is_told_at_once_what_is_loaded(tmp_path: Path) -> None:
    first, *rest = at_a_terminal(tmp_path, "optimzer.lr=1").splitlines()
    assert first == f"pwfn: {CHECKING}"
    assert "optimzer" in rest[1]
    assert CHECKING not in at_a_terminal(tmp_path, *SMALL, "optimzer.lr=1")
