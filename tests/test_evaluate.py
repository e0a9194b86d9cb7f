"""evaluate.py: the same figures as the run recorded, honest ensembles, and one clear line for what is no finished run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from pwfn.checkpoint import NotAFinishedRun
from pwfn.evaluation.predict import ensemble_probabilities, score
from pwfn.posterior import sampled
from pwfn.run import Finished, measure
from pwfn.settings import EvaluateSettings, TrainerSpec

SmallRun = Callable[..., Finished]


@pytest.fixture(scope="module")
def finished(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return small_run(tmp_path_factory.mktemp("finished"))


def settings(folder: Path, samples: int = 0) -> EvaluateSettings:
    return EvaluateSettings(str(folder), samples, 0, True, TrainerSpec(accelerator="cpu"))


def test_evaluation_equals_the_last_record_to_the_last_digit(finished: Finished) -> None:
    rows = measure(settings(finished.folder, samples=3), Console(quiet=True))
    assert rows["mean"] == finished.records[-1].clustered
    assert rows["recorded"] == finished.records[-1].clustered
    assert rows["ensemble of 3"] != rows["mean"]


def test_the_ensemble_averages_probabilities_and_never_sees_a_label(finished: Finished) -> None:
    images = torch.randn(30, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(30) % 10
    one = [(images, labels)]
    many = [(images[i : i + 7], labels[i : i + 7].flip(0)) for i in range(0, 30, 7)]
    network = finished.network.eval()
    result = ensemble_probabilities(network, one, samples=4, seed=3)
    torch.manual_seed(3)
    naive = torch.zeros(30, 10, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(4):
            with sampled(network):
                naive += network(images).double().softmax(1) / 4
    torch.testing.assert_close(result, naive, rtol=1e-12, atol=1e-15)
    other = ensemble_probabilities(network, many, samples=4, seed=3)
    torch.testing.assert_close(other, result, rtol=1e-4, atol=1e-6)  # float32 convolutions of another batch size


def test_scores_of_probabilities_known_by_hand() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], dtype=torch.float64)
    scores = score(probabilities, torch.tensor([0, 2]))
    assert scores.top1 == 50.0
    assert scores.top5 == 100.0
    assert scores.loss == pytest.approx(-(torch.tensor([0.7, 0.3], dtype=torch.float64).log().mean()).item())


def _no_config(folder: Path) -> None:
    (folder / "config.yaml").unlink()


def _unfinished(folder: Path) -> None:
    rows = json.loads((folder / "rounds.json").read_text())
    (folder / "rounds.json").write_text(json.dumps(rows[:-1]))


def _truncated(folder: Path) -> None:
    content = (folder / "network.safetensors").read_bytes()
    (folder / "network.safetensors").write_bytes(content[: len(content) // 2])


def _hostile(folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("pwfn.prior.Pow2Distance", "os.system"))


def _garbage(folder: Path) -> None:
    (folder / "config.yaml").write_text("a: [1")


@pytest.mark.parametrize("damage", [_no_config, _unfinished, _truncated, _hostile, _garbage])
def test_what_is_no_finished_run_is_refused(finished: Finished, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    damage(folder)
    with pytest.raises(NotAFinishedRun, match="run") as error:
        measure(settings(folder), Console(quiet=True))
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAFinishedRun, match="nowhere"):
        measure(settings(tmp_path / "nowhere"), Console(quiet=True))
