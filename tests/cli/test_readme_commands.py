"""The commands of README and of the tables of results pass every check."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pwfn.config import resolvers
from pwfn.config.preflight import preflight
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.run.settings import TrainSettings
from tests.support.documents import commands_of
from tests.support.project import PROJECT


@pytest.mark.slow
def test_the_train_commands_of_the_readme_pass_every_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resolvers.register()
    commands = commands_of(PROJECT / "README.md")
    assert len(commands) >= 2
    (tmp_path / "weights.safetensors").touch()
    own = {"data.root": tmp_path, "model.checkpoint": tmp_path / "weights.safetensors"}
    for command in commands:
        # a folder and a file that are there stand for the reader's own
        pairs = [(argument, argument.partition("=")[0]) for argument in command[2:]]
        arguments = [f"{key}={own[key]}" if key in own else argument for argument, key in pairs]
        preflight(TrainSettings, PROJECT / "conf", "train", arguments)
        OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")])
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("document", ["README.md", "docs/results.md", "docs/study.md"])
def test_the_commands_within_tables_and_sentences_pass_every_check(
    document: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # settings only: no device is touched
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    resolvers.register()
    words = re.findall(r"`python train\.py ([^`]*)`", (PROJECT / document).read_text())
    commands = {tuple(shlex.split(one)) for one in words if "<" not in one and "..." not in one}
    assert commands
    for command in commands:
        preflight(TrainSettings, PROJECT / "conf", "train", command)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_the_evaluate_commands_of_the_readme_pass_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resolvers.register()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/mine").mkdir(parents=True)
    for artifact in ("model.pwfn", "runs/mine/model.pwfn"):
        (tmp_path / artifact).touch()
    commands = commands_of(PROJECT / "README.md", "python evaluate.py")
    assert commands
    for command in commands:
        preflight(EvaluateSettings, PROJECT / "conf", "evaluate", command[2:])
    assert capsys.readouterr().err == ""
