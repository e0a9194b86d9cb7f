"""evaluate.py: the figures that the run recorded, honest ensembles, and settings that are refused."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from matplotlib.image import imread
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from pwfn.bayesian.posterior import quantized_tensors, sampled
from pwfn.bayesian.prior import Pow2DistancePrior
from pwfn.checkpoint.saved_run import NotAFinishedRun
from pwfn.cli.evaluate_task import run
from pwfn.data import DataError
from pwfn.evaluation.find_subject import subject_of
from pwfn.evaluation.predict import LabeledImages, drawn, predict, predict_draws
from pwfn.models.precision import Computing
from pwfn.monitoring.loggers.spec import Csv
from pwfn.monitoring.wandb.spec import Wandb
from pwfn.run.start import Finished
from tests.support.evaluation import measured, settings
from tests.support.loggers.wandb_offline import find_runs, read_run

SmallRun = Callable[..., Finished]
ON = Computing(torch.device("cpu"), "32-true")


def test_all_three_networks_equal_their_records_to_the_last_digit(finished: Finished) -> None:
    again = measured(run=str(finished.folder), samples=3, resamples=100)
    last = finished.records[-1]
    assert again.at_mean == {"pretrained": finished.baseline, "trained": last.trained, "clustered": last.clustered}
    of_networks = ["pretrained"] + 3 * ["trained"] + 3 * ["clustered"]
    assert [row.network for row in again.rows] == of_networks
    for name, scores in again.at_mean.items():
        figures = again.row(name, "mean").figures
        assert (figures["top1"], figures["top5"]) == (scores.top1, scores.top5)
        assert figures["nll"] == pytest.approx(scores.loss, rel=1e-13)
    for change in again.changes:
        before, after = (again.row(name, "mean").figures[change.metric] for name in ("pretrained", change.network))
        assert change.value == after - before
    written = json.loads((finished.folder / "evaluation/evaluation.json").read_text())
    assert [row["nll"] for row in written["rows"]] == [row.figures["nll"] for row in again.rows]
    assert all(one["equal"] for one in written["recorded"].values())
    assert len(written["recorded"]) == 3


def test_bf16_runs_equal_their_record_too(small_run: SmallRun, tmp_path: Path) -> None:
    finished = small_run(tmp_path, "trainer.precision=bf16-mixed")
    again = measured(run=str(tmp_path)).at_mean
    assert again["clustered"] == finished.records[-1].clustered
    assert again["pretrained"] == finished.baseline
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    config["trainer"]["precision"] = "32-true"
    config |= {"compile": True, "compile_mode": "reduce-overhead"}  # an evaluation compiles nothing
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert measured(run=str(tmp_path)).at_mean["clustered"].loss != again["clustered"].loss


def test_nothing_depends_on_batches_or_workers(finished: Finished, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    rows = {}
    for size, workers in ((256, 0), (7, 0), (7, 2)):
        config["data"] |= {"eval_batch_size": size, "num_workers": workers}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        rows[size, workers] = measured(run=str(folder), samples=2, resamples=100).rows
    for first, batched, shared in zip(*rows.values(), strict=True):
        assert batched.flat() == shared.flat()
        assert first.figures["top1"] == batched.figures["top1"]
        for name, value in first.figures.items():  # a convolution of other images at once rounds differently
            if value is None:
                assert batched.figures[name] is None
            else:
                assert batched.figures[name] == pytest.approx(value, rel=1e-3, abs=1e-6), name


def test_an_ensemble_averages_probabilities_and_never_sees_a_label(finished: Finished) -> None:
    images = torch.randn(30, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(30) % 10
    network = finished.network.eval()
    first, together = predict_draws(network, LabeledImages([(images, labels)]), ON, samples=4, seed=3)
    members = []
    for draw in range(4):
        with torch.no_grad(), drawn(network, 3, draw):
            members.append(network(images).double().softmax(1))
    torch.testing.assert_close(together.log_probabilities.exp(), torch.stack(members).mean(0), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(first.log_probabilities.exp(), members[0], rtol=1e-12, atol=1e-15)
    assert torch.equal(together.member_choice, torch.stack(members).argmax(2))
    other = [(images[i : i + 7], labels[i : i + 7].flip(0)) for i in range(0, 30, 7)]
    again = predict_draws(network, LabeledImages(other), ON, samples=4, seed=3)[1]
    torch.testing.assert_close(again.log_probabilities, together.log_probabilities, rtol=1e-4, atol=1e-5)


def test_draws_are_gaussian_around_the_mean_and_leave_the_random_state(finished: Finished) -> None:
    before = torch.get_rng_state()
    tensor = max(quantized_tensors(finished.network), key=lambda one: one.mu.numel())
    with drawn(finished.network, 0, 0):
        one = tensor.gaussian(tensor.mu).clone()
    with drawn(finished.network, 0, 1):
        assert not torch.equal(tensor.gaussian(tensor.mu), one)
    assert torch.equal(tensor.gaussian(tensor.mu), tensor.mu)
    sigma = tensor.gaussian.effective_sigma
    wide = sigma > 1e-3 * tensor.mu.abs().max()  # of a weight far larger than its sigma, float32 rounds the draw away
    assert wide.sum() > 10_000
    standard = ((one - tensor.mu) / sigma).detach().double()[wide]
    assert abs(standard.mean()) < 4 / standard.numel() ** 0.5
    assert abs(standard.std() - 1) < 0.02
    assert torch.equal(torch.get_rng_state(), before)
    with sampled(finished.network):
        assert not torch.equal(torch.get_rng_state(), before)


def test_labels_that_come_in_another_order_are_noticed() -> None:
    class Restless:
        passes = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            self.passes += 1
            yield torch.zeros(2, 1), torch.tensor([0, 1] if self.passes == 1 else [1, 0])

    images = LabeledImages(Restless())
    predict(nn.Linear(1, 2), images, ON)
    with pytest.raises(DataError, match="another order"):
        predict(nn.Linear(1, 2), images, ON)


def test_the_pretrained_network_is_kept_as_timm_reads_it(finished: Finished) -> None:
    subject = subject_of(settings(run=str(finished.folder)))
    network = subject.networks["pretrained"]()
    state = load_file(finished.folder / "pretrained.safetensors")
    plain = timm.create_model("test_resnet.r160_in1k", num_classes=10, in_chans=1)
    plain.load_state_dict(state)
    images = torch.randn(4, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(network.eval()(images), plain.eval()(images))
    for tensor in quantized_tensors(network):
        assert torch.equal(tensor.gaussian.sigma, Pow2DistancePrior()(tensor.mu))


def test_the_pictures_and_tables_are_there(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    run(settings(run=str(finished.folder), samples=2, resamples=100), Console())
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines()[1:24])) <= 80
    assert "…" not in said
    assert "ensembles of 2" in said
    assert "equal the run's last record to the last digit" in said
    assert "top1 clustered less pretrained" in said
    for name in ("reliability", "risk_coverage", "confusion"):
        image = np.asarray(imread(finished.folder / f"evaluation/{name}.png"))[..., :3]
        assert image.shape[0] > 400
        assert (image < 0.9).any(axis=2).mean() > 0.01
    classes = (finished.folder / "evaluation/classes.csv").read_text().splitlines()
    assert len(classes) == 1 + 10 * 7


@pytest.mark.slow
def test_a_logger_gets_every_figure_and_picture(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["run"]["identity"]["name"] == "test"
    assert len(summary["run"]["identity"]["run_id"]) == 8
    summary["run"]["identity"]["group"] = "the sweep of the run"
    (folder / "summary.json").write_text(json.dumps(summary))
    again = measured(run=str(folder), bill=True, output=str(tmp_path / "out"), logger=Wandb(save_dir=str(tmp_path)))
    (path,) = find_runs(tmp_path)
    deadline = time.monotonic() + 20
    while (run_ := read_run(path)).exit_code is None and time.monotonic() < deadline:
        time.sleep(0.1)  # W&B's own process writes images and the end of the run in its own time
    assert run_.job_type == "evaluate"
    assert run_.exit_code == 0
    assert str(folder) in run_.name
    assert run_.group == "the sweep of the run"
    assert run_.config["evaluated"] == summary["run"]["identity"]
    for name in ("pretrained", "trained", "clustered"):
        assert run_.summary[f"{name}/mean/nll"] == again.row(name, "mean").figures["nll"]
    written = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert run_.summary["bill/total/shifts"] == written["bill"]["total"]["shifts"]
    shown = {key for row in run_.history for key in row if key.startswith("evaluation/")}
    assert {key.split(".")[0] for key in shown} >= {
        f"evaluation/{name}" for name in ("bill", "confusion", "reliability", "risk_coverage")
    }
    measured(run=str(finished.folder), output=str(tmp_path / "csv"), logger=Csv())
    (table,) = (tmp_path / "csv").rglob("metrics.csv")
    assert "clustered/mean/nll" in table.read_text().splitlines()[0]


def test_images_that_moved_are_found(finished: Finished, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "new" / split / name).mkdir(parents=True)
    config["data"] = {"_target_": "pwfn.data.ImageFolder", "root": "/gone"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert subject_of(settings(run=str(folder), data_root=str(tmp_path / "new"))).data.spec.root == str(
        tmp_path / "new"
    )
    with pytest.raises(NotAFinishedRun, match="images are in no folder"):
        subject_of(settings(run=str(finished.folder), data_root="/data"))


def test_older_runs_without_the_networks_for_comparison(finished: Finished, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    (folder / "pretrained.safetensors").unlink()
    (folder / "trained.safetensors").unlink()
    subject = subject_of(settings(run=str(folder)))
    assert list(subject.networks) == ["clustered"]
    assert len(subject.notes) == 2
    assert measured(run=str(folder)).at_mean == {"clustered": finished.records[-1].clustered}


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="resamples = 3: must be an integer from 100"):
        replace(settings(run="x"), resamples=3)
