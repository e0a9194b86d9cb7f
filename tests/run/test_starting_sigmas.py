"""Runs whose sigmas come from curvature: on every rank the same, and in the artifact when they end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from rich.console import Console
from torch import nn

import pwfn
from pwfn.artifact import describe
from pwfn.bayesian.posterior import quantized_tensors, to_bayesian
from pwfn.bayesian.starting_sigma import SigmaError
from pwfn.checkpoint import saved_config, saved_networks
from pwfn.config import build
from pwfn.data.module import ImageDataModule
from pwfn.evaluation.artifact_subject import not_learned_in
from pwfn.evaluation.run_subject import rebuilt_settings
from pwfn.evaluation.subject import NO_NOISE
from pwfn.models.timm_model import build_bayesian, data_config
from pwfn.preview.dry_run_report import dry_run
from pwfn.run.settings import TrainSettings
from pwfn.run.starting_sigmas import set_starting_sigmas
from tests.support.project import Compose
from tests.support.ranks import leave_together

LAPLACE = ("sigma=laplace", "sigma.images=32", "sigma.count=1e9", "prior=constant", "prior.sigma=0.05")
AT_ONCE = (
    "clustering=second_order", "clustering.images=16", "clustering.passes=1", "clustering.rate=1e-6", "noise=false",
    "schedule.fractions=[1.0]", "schedule.first_epochs=0", "artifact.sigma=true",
)  # fmt: skip


def sigmas(network: nn.Module) -> dict[str, torch.Tensor]:
    return {tensor.name: tensor.gaussian.sigma for tensor in quantized_tensors(network)}


def test_the_artifact_has_the_sigmas_that_curvature_gave(small_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    small_run(tmp_path, *LAPLACE, *AT_ONCE)
    settings, _ = rebuilt_settings(tmp_path)
    network = build_bayesian(settings.model, num_classes=settings.data.num_classes, in_chans=settings.data.channels)
    saved_networks.load_pretrained(tmp_path, network)
    data = ImageDataModule(settings.data, data_config(network), settings.seed)
    set_starting_sigmas(network, settings, data, print)
    expected, found = sigmas(network), sigmas(pwfn.load(tmp_path / "model.pwfn", posterior=True))
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], sigma) for name, sigma in expected.items())
    assert 0 < min(float(one.detach().min()) for one in found.values()) < 0.02
    assert not_learned_in(describe(tmp_path / "model.pwfn")) == ""
    assert settings.has_posterior


def test_a_file_that_is_not_there_ends_a_run_before_it_trains(small_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SigmaError, match=r"sigma.path = .*/none.safetensors': must be a safetensors file"):
        small_run(tmp_path, "sigma=given", f"sigma.path={tmp_path}/none.safetensors", "pretrain.epochs=1000000")


def test_without_a_posterior_no_draw_means_anything(composed: Compose) -> None:
    def header(*overrides: str) -> dict[str, object]:
        return {"sigma": 1, "config": OmegaConf.to_container(composed(*overrides), resolve=True)}

    assert not_learned_in(header("schedule=one_shot", "sigma=laplace")) == ""
    assert not_learned_in(header("schedule=one_shot")) == NO_NOISE
    assert not_learned_in({"sigma": 1, "config": {"sigma": {"_target_": "os.system"}, "noise": False}}) == NO_NOISE


def test_a_saved_run_without_the_group_has_the_sigmas_of_the_prior(composed: Compose, tmp_path: Path) -> None:
    config = OmegaConf.to_container(composed(), resolve=True)
    assert isinstance(config, dict)
    del config["sigma"]
    saved_config.write_config(tmp_path, config)
    assert isinstance(rebuilt_settings(tmp_path)[0].sigma, pwfn.bayesian.PriorSigma)


def test_a_rule_that_joins_sigmas_is_remarked_on(composed: Compose) -> None:
    def remarks(*overrides: str) -> list[str]:
        return [line for line in build.load(TrainSettings, composed(*overrides)).remarks if "sigma_join" in line]

    assert remarks("sigma=laplace") == []
    assert len(remarks("sigma=laplace", "sigma_join=std_mu")) == 1


def test_a_dry_run_looks_at_images_for_it(composed: Compose, tmp_path: Path) -> None:
    cfg = composed("experiment=smoke", "schedule.fractions=[1.0]", "pretrain=none", *LAPLACE)
    made = build.load(TrainSettings, cfg)
    with (tmp_path / "out.txt").open("w") as out:
        records = dry_run(made, OmegaConf.to_container(cfg, resolve=True), tmp_path, Console(file=out))  # type: ignore[arg-type]
    plain = build.load(TrainSettings, composed("experiment=smoke", "schedule.fractions=[1.0]", "pretrain=none"))
    with (tmp_path / "out.txt").open("w") as out:
        others = dry_run(plain, {}, tmp_path, Console(file=out))
    assert records[-1].fraction == others[-1].fraction == 1.0
    assert records[-1].threshold != others[-1].threshold  # the tolerance is sigma


def rank_main(rank: int, folder: str, cfg: dict[str, object]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    settings = build.load(TrainSettings, OmegaConf.create(cfg))  # type: ignore[arg-type]
    torch.save(set_and_flat(settings), f"{folder}/{rank}.pt")
    leave_together(folder, rank)


def set_and_flat(settings: TrainSettings) -> list[torch.Tensor]:
    torch.manual_seed(0)
    channels = settings.data.channels
    network = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
    network(torch.zeros(1, channels, 32, 32))
    to_bayesian(network)
    config = {**data_config(network), "input_size": (channels, 32, 32)}
    set_starting_sigmas(network, settings, ImageDataModule(settings.data, config, settings.seed), print)
    return [tensor.gaussian.sigma.clone() for tensor in quantized_tensors(network)]


@pytest.mark.slow
@pytest.mark.multiprocess
def test_two_ranks_have_the_same_sigmas_of_the_images_of_both(composed: Compose, tmp_path: Path) -> None:
    cfg = OmegaConf.to_container(composed("experiment=smoke", *LAPLACE), resolve=True)
    torch.multiprocessing.spawn(rank_main, (str(tmp_path), cfg), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    alone = set_and_flat(build.load(TrainSettings, OmegaConf.create(cfg)))  # type: ignore[arg-type]
    for one, other, whole in zip(first, second, alone, strict=True):
        assert torch.equal(one, other)
        assert not torch.equal(one, whole)  # other signs were drawn
        torch.testing.assert_close(one, whole, rtol=0.5, atol=0)
