"""Every mistake of a command is one line that names key, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pwfn.config import resolvers
from pwfn.config.preflight import preflight
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.run.settings import TrainSettings
from tests.support.project import PROJECT, SMALL, Program

MISTAKES = [
    ("optimizer.lrr=1", "optimizer.lrr", "optimizer.lr"),
    ("+optimizer.lrr=1", "optimizer.lrr", "optimizer.lr"),
    ("modle=resnet18", "modle", "model"),
    ("sigma_join=std_muu", "sigma_join", "std_mu"),
    ("optimizer.lr=abc", "optimizer.lr = 'abc'", "number"),
    ("optimizer.lr=nan", "optimizer.lr = nan", "above 0"),
    ("clustering.inc=1", "clustering.inc = 1", "above 1"),
    ("codebook.b=-1", "codebook.b = -1", "from 0"),
    ("codebook.max_order=5", "codebook.max_order = 5", "from 1 to 4"),
    ("codebook=pow3", "codebook = 'pow3'", "pow2"),
    ("clustering=greedi", "clustering = 'greedi'", "greedy"),
    ("schedule.fractions=[0.5,0.4,1.0]", "schedule.fractions", "increase"),
    ("schedule.fractions=[0.5,0.9]", "schedule.fractions", "end with 1"),
    ("prior.quantile=0", "prior.quantile = 0", "above 0"),
    ("regularizer.strength=-1", "regularizer.strength = -1", "from 0"),
    ("regularizer.ceiling=0.01", "regularizer.ceiling = 0.01", "prior"),
    ("data.batch_size=0", "data.batch_size = 0", "from 1"),
    ("data.train_images=10", "data.batch_size = 64", "data.train_images = 10"),
    ("trainer.devices=2", "trainer.strategy = 'auto'", "ddp"),
    ("model.name=resnet19", "model.name = 'resnet19'", "nearest"),
    ("model.checkpoint=/no/such/file", "model.checkpoint", "existing file"),
    ("logger.mode=onlin", "logger.mode = 'onlin'", "online"),
    ("seed=-1", "seed = -1", "from 0"),
    ("dry_run=maybe", "dry_run = 'maybe'", "true or false"),
    ("inspekt=true", "inspekt", "inspect"),
    ("model=convnext_tiny", "model = 'convnext_tiny'", "write model=timm model.name=convnext_tiny"),
    ("model=resnet50.a1_in1k", "model = 'resnet50.a1_in1k'", "write model=timm model.name=resnet50.a1_in1k"),
    ("model=resnet5", "model = 'resnet5'", "the nearest is resnet50"),
    ("model=nothing", "model = 'nothing'", "deit_small, deit_tiny"),
    ("name='  '", "name = ", "of 1 to 128 characters"),
]


def faults(capsys: pytest.CaptureFixture[str], *overrides: str) -> list[str]:
    resolvers.register()
    with pytest.raises(SystemExit) as exit_:
        preflight(TrainSettings, PROJECT / "conf", "train", list(overrides))
    assert exit_.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[1:]


@pytest.mark.slow
@pytest.mark.parametrize(("override", "names", "allows"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_one_line(override: str, names: str, allows: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = faults(capsys, override)
    assert names in line
    assert allows in line


@pytest.mark.slow
def test_all_mistakes_are_listed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = faults(capsys, "optimizer.lr=abc", "prior=constnat", "clustering.inc=0.5", "+nothing=1")
    assert len(lines) == 4


def test_a_dry_run_refuses_what_wandb_would_not_take(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {"tags": "['']", "group": "g" * 129, "job_type": "j" * 65}
    lines = faults(capsys, "dry_run=true", "logger=wandb", *(f"logger.{key}={value}" for key, value in kinds.items()))
    assert sorted(line.split()[0] for line in lines) == sorted(f"logger.{key}" for key in kinds)


def test_contradictions_are_listed_beside_wrong_values(capsys: pytest.CaptureFixture[str]) -> None:
    lines = faults(capsys, "seed=-1", "data.batch_size=9999", "data.train_images=1000", "optimizer.lr=-1")
    assert [line.split(" = ")[0].strip() for line in lines] == ["optimizer.lr", "seed", "data.batch_size"]


def test_a_batch_larger_than_a_set_of_known_size_is_listed_too(capsys: pytest.CaptureFixture[str]) -> None:
    lines = faults(capsys, "seed=-1", "data.batch_size=9999")
    assert [line.split(" = ")[0].strip() for line in lines] == ["seed", "data.batch_size"]
    assert lines[1].endswith("1438")  # of the 1,797 digits, without those that test


@pytest.mark.parametrize(("flags", "key"), [([], "hydra.run.dir"), (["-m"], "hydra.sweep.dir")])
def test_a_folder_that_cannot_be_made(
    flags: list[str], key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    (line,) = faults(capsys, *flags, f"{key}={file}/deeper/run")
    assert line.strip().startswith(f"{key} = '{file}/deeper/run': must be a folder")
    assert f"{file} is not" in line


def test_dry_run_and_inspect_are_one_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = faults(capsys, "dry_run=true", "inspect=true")
    assert "inspect = True" in line
    assert "dry_run" in line


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["trainer=ddp"], "trainer=ddp: an evaluation is one process, on device=cpu, gpu or auto, in the precision of"),
        (["trainer.devices=2"], "trainer.devices = 2: unknown key; the nearest is device"),
        (
            ["corruptions.kinds=[fog]"],
            "corruptions.kinds = ['fog']: must be a list, each entry one of noise, blur, contrast",
        ),
        (["noise.draws=1"], "noise.draws = 1: must be an integer from 2"),
        (["prune_codebook.max_size=0"], "prune_codebook.max_size = 0: must be an integer from 1, or null"),
        (["noise.sigma=[1,x]"], "noise.sigma = [1, 'x']: must be a list of numbers"),
    ],
)
def test_faults_of_an_evaluation_are_one_line(
    overrides: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        preflight(EvaluateSettings, PROJECT / "conf", "evaluate", ["run=x", *overrides])
    assert [said for said in capsys.readouterr().err.splitlines()[1:] if line in said]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "model.quantize.exclude=['foo.*']",
            "pwfn: model.quantize: the pattern 'foo.*' matches no parameter of the model",
        ),
        ("model.quantize.exclude=['*']", "pwfn: model.quantize: the model has no linear or convolution layer, and no"),
        ("optimizer.lr=1e12", "in round 1/2"),
        (
            "data.batch_size=1",
            "pwfn: data.batch_size = 1: must be from 2, because this model normalizes over the batch",
        ),
    ],
)
def test_what_only_the_run_finds_out_is_one_line_too(
    override: str, line: str, program: Program, tmp_path: Path
) -> None:
    done = program(tmp_path, "train.py", *SMALL, override)
    assert done.returncode == 1
    assert line in done.stderr
    assert "Traceback" not in done.stderr
