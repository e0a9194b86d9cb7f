"""The entry points as a user calls them: mistakes, sweeps, two processes, and the README's commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from pwfn.config import resolvers
from pwfn.config.preflight import preflight
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.monitoring.run_reporter import FIGURES
from pwfn.run.settings import TrainSettings
from tests.support.documents import commands_of
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.project import PROJECT, RECORDED, SMALL, Program, clean_environment

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


@pytest.mark.slow
def test_a_wrong_sweep_ends_before_its_first_job_and_leaves_nothing(program: Program, tmp_path: Path) -> None:
    done = program(tmp_path, "train.py", "-m", *SMALL, "codebook.b=7,99")
    assert done.returncode == 2
    assert "codebook.b = 99" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_of_two_jobs_leaves_two_whole_runs(program: Program, tmp_path: Path) -> None:
    logged = ("logger=wandb", "logger.save_dir=logs")
    done = program(tmp_path, "train.py", "-m", *SMALL, *logged, "seed=0,1", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    folders = [tmp_path / f"sweep/{job}_seed-{job}" for job in (0, 1)]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    assert [summary["run"]["seed"] for summary in summaries] == [0, 1]
    plan = json.loads((tmp_path / "sweep/sweep.json").read_text())["jobs"]
    assert [job["expected"]["steps"] for job in plan] == [summary["final"]["steps"] for summary in summaries]
    table, _, following = done.stdout.rpartition("Next (of the runs, job ")
    best = max((0, 1), key=lambda job: summaries[job]["final"]["clustered/val_top1"])
    assert following.splitlines()[0] == f"{best} is the best by validation images):"
    place = f"sweep/{best}_seed-{best}"
    assert f"  measure it  python evaluate.py run={place}\n" in following
    measured = program(tmp_path, "evaluate.py", f"run={place}", "samples=0")
    assert measured.returncode == 0, measured.stderr
    lines = {line.split()[0]: line for line in table.splitlines()[-2:]}  # of the table that ends the sweep
    for job, folder in zip("01", folders, strict=True):
        line, figures = lines[job], json.loads((folder / "result.json").read_text())["summary"]
        assert list(figures) == list(FIGURES)
        top1, val_top1, change, bits, values, size = figures.values()
        shown = [f"{top1:.2f}", f"{val_top1:.2f}", f"{change:+.2f}", f"{bits:.3f}", f"{values:,}", f"{size:.3f}"]
        assert line.split() == [job, job, *shown]
        assert change == top1 - summaries[int(job)]["pretrained"]["top1"]
        assert size == (folder / "model.pwfn").stat().st_size / 1e6
        assert [said for said in done.stdout.splitlines() if said.endswith(f"[HYDRA] \tjob {job} seed={job}")]
    assert [read_run(path).group for path in find_runs(tmp_path / "logs")] == [f"{tmp_path.name}/sweep"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(("number", "says", "code"), [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)])
def test_a_stopped_run_says_so_and_keeps_its_rounds(number: int, says: str, code: int, tmp_path: Path) -> None:
    many = ["schedule.rest_epochs=1000", "hydra.run.dir=run", "data/augment=crop_flip", "data.num_workers=2"]
    command = [sys.executable, str(PROJECT / "train.py"), *SMALL, *many]
    default = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    run = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=default, start_new_session=True
    )
    deadline = time.monotonic() + 100
    while not (tmp_path / "run/rounds.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)  # into the second round
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does: to every process of the run
    else:
        run.send_signal(number)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == code
    assert f"pwfn: stopped by {says}; resume with: python train.py resume={tmp_path / 'run'}\n" in errors
    assert "Traceback" not in errors
    assert errors.count("finishing the step and saving") == 1  # not once for each process that reads images
    left = tmp_path / "run/checkpoints"
    listed = ", ".join(sorted(path.name for path in left.glob("*.ckpt")))
    assert f" MB ({listed}); to give the run up, remove them: rm -r {left}\n" in errors
    assert len(json.loads((tmp_path / "run/rounds.json").read_text())) == 1


@pytest.mark.slow
def test_two_processes_are_one_run(program: Program, tmp_path: Path) -> None:
    done = program(tmp_path, "train.py", *SMALL, "trainer=ddp_cpu", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "rounds.json").read_text())
    assert rows[-1]["unique_weights"] == rows[-1]["codebook_size"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_evaluate_from_the_command_line(program: Program, smoke: Path) -> None:
    done = program(smoke, "evaluate.py", "run=run", "samples=0")
    assert done.returncode == 0, done.stderr
    assert "equal the run's last record" in done.stdout
    wrong = program(smoke, "evaluate.py", "run=nowhere")
    assert wrong.returncode == 2
    assert "nowhere" in wrong.stderr
    assert "Traceback" not in wrong.stderr


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
def test_a_folder_with_a_run_is_not_used_again(smoke: Path, program: Program) -> None:
    before = {path: path.read_bytes() for path in (smoke / "run").iterdir() if path.is_file()}
    done = program(smoke, "train.py", *SMALL, "hydra.run.dir=run")
    assert done.returncode == 1
    assert (
        f"pwfn: {smoke / 'run'} holds a run already (rounds.json): go on with it (resume={smoke / 'run'})"
        in done.stderr
    )
    del before[smoke / "run/train.log"]  # Hydra has opened it by then
    assert all(path.read_bytes() == content for path, content in before.items())


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


@pytest.mark.slow
def test_relative_paths_are_seen_from_where_the_user_stands(program: Program, tmp_path: Path) -> None:
    import timm

    state = timm.create_model("test_resnet", in_chans=1, num_classes=10).state_dict()
    (tmp_path / "set (1)").mkdir()
    torch.save(state, tmp_path / "set (1)/weights=mine.pth")
    given = ["model=test_resnet", 'model.checkpoint="set (1)/weights=mine.pth"', "inspect=true", "hydra.run.dir=run"]
    done = program(tmp_path, "train.py", "data=digits", *given, "hydra.job.chdir=true")
    assert done.returncode == 0, done.stderr
    assert "set (1)/weights=mine.pth" in (tmp_path / "run/.hydra/config.yaml").read_text()


@pytest.mark.slow
def test_a_home_is_known_wherever_a_path_is_expected(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "version_0_1/finished", tmp_path / "finished")
    for script, words, says in (
        ("train.py", ["resume=~/finished"], "is finished, there is nothing to resume"),
        ("evaluate.py", ["report=~/finished", "output=."], "1 run in report.html"),
        ("-m", ["pwfn", "describe", "~/finished/model.pwfn"], "format version 1\n"),
        ("-m", ["pwfn", "export", "~/finished/model.pwfn", "--to", "safetensors", "--out", "out.safetensors"], " MB;"),
    ):
        start = [script] if script == "-m" else [str(PROJECT / script)]
        environment = clean_environment(PYTHONPATH=str(PROJECT), HOME=str(tmp_path))
        command = [sys.executable, *start, *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert says in done.stdout
