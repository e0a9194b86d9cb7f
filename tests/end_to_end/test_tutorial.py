"""Every command and the Python of docs/tutorial.md run, one after the other, on generated photographs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.documents import commands_of
from tests.support.project import PROJECT, Program

TUTORIAL = PROJECT / "docs/tutorial.md"
NETWORK = {"model=resnet18": "model=test_resnet", "model.pretrained=true": "model.pretrained=false"}  # no download
QUICK = ["data.image_size=32", "data.num_workers=0"]
TRAIN = [*QUICK, "pretrain.head_epochs=1", "pretrain.epochs=2", "clustering.images=32", "logger=none"]


def take_photographs(folder: Path) -> None:
    noise = np.random.default_rng(0)
    for name, color in (("rose", (220, 60, 60)), ("tulip", (60, 60, 220))):
        (folder / name).mkdir(parents=True)
        for number in range(1, 41):
            pixels = np.clip(np.array(color) + noise.normal(0, 40, (40, 48, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:04}.jpg")


@pytest.mark.slow
def test_the_tutorial_leads_from_photographs_to_an_answer(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    take_photographs(tmp_path / "photos")
    inspect, train = ([NETWORK.get(word, word) for word in command[2:]] for command in commands_of(TUTORIAL))
    (evaluate,) = commands_of(TUTORIAL, "python evaluate.py")

    looked = program(tmp_path, "train.py", *inspect, *QUICK, "logger=none")
    assert looked.returncode == 0, looked.stderr
    assert "share the codebook" in looked.stdout

    trained = program(tmp_path, "train.py", *train, *TRAIN)
    assert trained.returncode == 0, trained.stderr
    summary = json.loads((tmp_path / "runs/flowers/summary.json").read_text())
    assert summary["final"]["fraction"] == 1

    measured = program(tmp_path, "evaluate.py", *evaluate[2:], *QUICK)
    assert measured.returncode == 0, measured.stderr
    assert "equal the artifact's record" in measured.stdout

    (code,) = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out.strip() in ("rose", "tulip")
