"""The entry points as a user calls them: sweeps, signals, two processes, evaluations, paths."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from pwfn.monitoring.run_reporter import FIGURES
from tests.support.loggers.wandb_offline import find_runs, read_run
from tests.support.project import PROJECT, RECORDED, SMALL, Program, clean_environment


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
