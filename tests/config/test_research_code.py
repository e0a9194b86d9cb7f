"""docs/research_code.md tells the truth: every flag has its key, and the published commands compose to their values."""

from __future__ import annotations

import re
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from pwfn.config import resolvers
from pwfn.config.preflight import preflight
from pwfn.run.settings import TrainSettings
from tests.support.documents import commands_of
from tests.support.project import PROJECT, Compose

DOCUMENT = PROJECT / "docs/research_code.md"
COMMANDS = commands_of(DOCUMENT)
# the README of the research code, but for the names of its two flags of sigma, which its program has otherwise
PUBLISHED = (
    "--model {} --reg_function linear --data imagenet --lr 0.001 --start_epochs 1 --rest_epochs 3 --reg 0.00048828125 "
    "--start_sigma 1.0 --end_sigma 1.0 --inc 2 --b 7 --sigma_join std_mu --want_to_save --prior --zero_fix"
)
MODELS = ["deit_small_patch16_224", "deit_tiny_patch16_224", "resnet18", "resnet34", "resnet50"]
FLAGS = set(re.findall(r"--\w+", PUBLISHED)) | {"--data_loc"}
ROWS = re.findall(r"^\| `(--\w+)(?: (\S+))?` \| [^|]* \| `([^`]+)`", DOCUMENT.read_text(), re.M)
CLASSES = {
    "regularizer": "pwfn.bayesian.LinearRegularizer",
    "prior": "pwfn.bayesian.Pow2DistancePrior",
    "sigma_join": "pwfn.clustering.StdMu",
    "data": "pwfn.data.ImageNet",
}


def asked(model: str) -> dict[str, Any]:
    """What a published command asks for, by our keys, from the flags themselves."""
    words = PUBLISHED.format(model).split("--")[1:]
    flags = {flag: value for flag, _, value in (word.strip().partition(" ") for word in words)}
    assert flags["reg_function"] == "linear"
    assert flags["sigma_join"] == "std_mu"
    assert {"prior", "zero_fix", "want_to_save"} <= flags.keys()
    return {
        "optimizer.lr": float(flags["lr"]),
        "schedule.first_epochs": int(flags["start_epochs"]),
        "schedule.rest_epochs": int(flags["rest_epochs"]),
        "regularizer.strength": float(flags["reg"]),
        "codebook.b": int(flags["b"]),
        "clustering.inc": float(flags["inc"]),
        "clustering.start": float(flags["start_sigma"]),
        "clustering.zero_fix": True,
        "data.root": "/data/imagenet",
        **{f"{group}._target_": target for group, target in CLASSES.items()},
        # its constants
        "schedule.fractions": [0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 1.0],
        "schedule.first_share": 0.05,
        "optimizer._target_": "pwfn.training.SGD",
        "optimizer.clip_norm": 1.0,
    }


def check(cfg: DictConfig, model: str) -> None:
    wanted = asked(model)
    assert {key: OmegaConf.select(cfg, key) for key in wanted} == wanted
    end = cfg.clustering.end
    assert (cfg.clustering.start if end is None else end) == 1.0
    assert cfg.model.name.partition(".")[0] == model
    assert cfg.model.pretrained
    assert cfg.keep in ("all", "auto")


@pytest.mark.parametrize("model", MODELS)
def test_each_published_command_composes_to_the_same_values(model: str, composed: Compose) -> None:
    (words,) = [words for words in COMMANDS if words[2] == f"experiment=paper_{model.removesuffix('_patch16_224')}"]
    check(composed(*words[2:]), model)


def test_the_command_that_is_written_out_says_the_same(composed: Compose) -> None:
    (words,) = [words for words in COMMANDS if words[2] == "experiment=paper"]
    check(composed(*words[2:]), "resnet18")
    assert {word.partition("=")[0] for _, _, word in ROWS} - {"keep", "data"} <= {w.partition("=")[0] for w in words}


def test_every_flag_has_a_row_whose_key_there_is(composed: Compose) -> None:
    assert {flag for flag, _, _ in ROWS} == FLAGS
    assert len(ROWS) == len(FLAGS)
    composed(*(word for _, _, word in ROWS))
    for flag, value, word in ROWS:
        if value:
            assert word.partition("=")[2] == value, flag


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[2])
def test_every_command_passes_all_checks(words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    for split in ("train", "val"):
        (tmp_path / split / "class").mkdir(parents=True)
    resolvers.register()
    monkeypatch.chdir(tmp_path)
    preflight(TrainSettings, PROJECT / "conf", "train", [*words[2:], "trainer=cpu"])  # no GPU is asked for here


def test_the_names_of_the_rules_and_the_other_overrides_compose(composed: Compose) -> None:
    text = DOCUMENT.read_text()
    for override in sorted(
        set(re.findall(r"`((?:sigma_join|prior|schedule\.training|data\.val_fraction)=\w[\w.]*)`", text))
    ):
        composed(override)
    composed("codebook=uniform", "codebook.bits=4", "codebook.within=1", "codebook.scope=tensor")
    composed('model.quantize.include=["*bn*"]', 'model.quantize.exclude=["*.bias"]', "codebook.per_tensor_max=16")
