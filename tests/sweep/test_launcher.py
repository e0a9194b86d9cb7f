"""The process launcher, on a toy Hydra program: real processes, no torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import PROJECT

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base="1.3", config_path="conf", config_name="toy")
def main(cfg):
    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    seen = {"a": cfg.a, "text": cfg.text, "pid": os.getpid(), "mode": settings.mode.name, "num": settings.job.num,
            "name": settings.job.name, "env": dict(os.environ), "argv": sys.argv[1:], "output": str(settings.output_subdir)}
    (folder / "seen.json").write_text(json.dumps(seen))
    (folder / "result.json").write_text(json.dumps({"objective": cfg.a * 10, "summary": {"some/figure": cfg.a / 8}}))
    print("job says", cfg.a, flush=True)
    if cfg.a == 13:
        raise RuntimeError("unlucky")
    if cfg.a in (98, 99):  # as somebody who stops the sweep would
        os.kill(os.getppid(), signal.SIGINT if cfg.a == 99 else signal.SIGTERM)
        signal.pause()

if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults:
  - override hydra/launcher: process
  - _self_
a: 1
text: x
hydra:
  sweep: {dir: sweep, subdir: "job${hydra.job.num}"}
"""
SWEEPER = """
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
class Recorder(BasicSweeper):
    def sweep(self, arguments):
        returns = super().sweep(arguments)
        print("returned", [job.return_value for batch in returns for job in batch], flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "toy.py").write_text(PROGRAM)
    launcher = tmp_path / "conf/hydra/launcher/process.yaml"
    launcher.parent.mkdir(parents=True)
    launcher.write_text((PROJECT / "conf/hydra/launcher/process.yaml").read_text())
    (tmp_path / "conf/toy.yaml").write_text(CONFIG)
    return tmp_path


def sweep(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"PYTHONPATH": f"{PROJECT}{os.pathsep}{folder}"} | variables
    command = [sys.executable, "toy.py", "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def seen(folder: Path, number: int) -> dict[str, Any]:
    return json.loads((folder / f"sweep/job{number}/seen.json").read_text())


def table(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The cells of the table that ends a sweep, from the last line of its heading on."""
    lines = [line.split() for line in done.stdout.splitlines() if "─" not in line and line[:5] != "pwfn:"]
    return lines[next(number for number, line in enumerate(lines) if line[:1] == ["job"] and "figure" in line) :]


def test_each_job_has_a_process_a_folder_and_a_clean_environment(folder: Path) -> None:
    done = sweep(folder, "a=1,2", "hydra.job.name=toys", LOCAL_RANK="1", WORLD_SIZE="2", MASTER_PORT="1", KEPT="yes")
    assert done.returncode == 0, done.stderr
    first, second = seen(folder, 0), seen(folder, 1)
    assert (first["a"], second["a"]) == (1, 2)
    assert first["pid"] != second["pid"]
    assert [job["mode"] for job in (first, second)] == ["RUN", "RUN"]
    assert [job["num"] for job in (first, second)] == [0, 1]
    assert first["name"] == "toys"  # Hydra's other settings are passed on
    assert "-m" not in first["argv"] and not any(word.startswith("hydra.launcher") for word in first["argv"])
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "OMP_NUM_THREADS"} & set(first["env"])
    assert first["env"]["KEPT"] == "yes"
    assert first["env"]["PWFN_SWEEP"] == second["env"]["PWFN_SWEEP"] == f"{folder.name}/sweep"
    assert "job says 1" in done.stdout and "job says 2" in done.stdout
    assert table(done) == [["job", "a", "figure"], ["0", "1", "0.125"], ["1", "2", "0.25"]]
    assert done.stdout.index("job says 2") < done.stdout.index("figure")
    # one tree, and nothing beside it
    assert sorted(path.name for path in (folder / "sweep").iterdir()) == sorted(
        [".lock", "job0", "job1", "jobs.csv", "jobs.json", "multirun.yaml", "sweep.json"]
    )
    assert not (folder / "outputs").exists() and not (folder / "multirun").exists()


def test_a_failed_job_does_not_stop_the_others(folder: Path) -> None:
    done = sweep(folder, "a=13,2")
    assert done.returncode == 1
    assert seen(folder, 1)["a"] == 2
    assert f"pwfn: job 0 (a=13) in {folder / 'sweep/job0'} failed: exit code 1" in done.stderr.splitlines()
    assert "pwfn: 1 of 2 jobs failed" in done.stderr
    assert "job 1 (" not in done.stderr
    assert table(done)[1:] == [["1", "2", "0.25"], ["0", "13", "FAILED:", "exit", "code", "1"]]
    # the one traceback is that of the job itself
    assert done.stderr.count("Traceback") == done.stderr.count("RuntimeError: unlucky") <= 1


def test_parallel_jobs_share_the_threads(folder: Path) -> None:
    done = sweep(folder, "a=1,2", "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stderr
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert [seen(folder, job)["env"]["OMP_NUM_THREADS"] for job in (0, 1)] == [str(max(1, cores // 2))] * 2


def test_values_arrive_as_they_were_given(folder: Path) -> None:
    texts = ["it's", "a b", "x=1,y", "[1,2]", "3", "\\", 'say "so"', "$HOME"]
    quoted = ",".join("'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'" for text in texts)
    done = sweep(
        folder, f"text={quoted}", f"hydra.sweep.dir='{folder}/it\\'s, {{here}} = 1'", "hydra.launcher.n_jobs=2"
    )
    assert done.returncode == 0, done.stderr
    folders = [folder / f"it's, {{here}} = 1/job{number}" for number in range(len(texts))]
    assert [json.loads((job / "seen.json").read_text())["text"] for job in folders] == texts


def test_sweeper_gets_the_objectives(folder: Path) -> None:
    plugin = folder / "hydra_plugins/recorder"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text("")
    (plugin / "recorder.py").write_text(SWEEPER)
    option = folder / "conf/hydra/sweeper/recorder.yaml"
    option.parent.mkdir()
    option.write_text("_target_: hydra_plugins.recorder.recorder.Recorder\nmax_batch_size: 1\nparams: null\n")
    extra = folder / "more"
    extra.mkdir()
    done = sweep(folder, "--config-dir", str(extra), "a=1,2", "hydra/sweeper=recorder")
    assert done.returncode == 0, done.stderr
    assert "returned [10, 20]" in done.stdout
    assert len(table(done)) == 3  # one table, however many batches
    assert seen(folder, 0)["argv"][:4] == ["--config-name", "toy", "--config-dir", str(extra)]


def test_wrong_number_of_jobs_is_refused(folder: Path) -> None:
    done = sweep(folder, "a=1,2", "hydra.launcher.n_jobs=0")
    assert done.returncode == 1 and "hydra.launcher.n_jobs = 0: must be a whole number from 1" in done.stderr
    assert not (folder / "sweep/job0").exists()


@pytest.mark.parametrize(("a", "codes"), [(99, (1, 130, -signal.SIGINT)), (98, (143,))], ids=["Ctrl-C", "SIGTERM"])
def test_a_stopped_sweep_ends_its_jobs(a: int, codes: tuple[int, ...], folder: Path) -> None:
    done = sweep(folder, f"a={a},1")
    assert done.returncode in codes
    assert not (folder / "sweep/job1").exists()  # none is started any more
    assert "not finished" in done.stdout
    with pytest.raises(ProcessLookupError):
        os.kill(seen(folder, 0)["pid"], 0)
