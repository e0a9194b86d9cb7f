"""The process launcher, on a toy Hydra program: real processes, no torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.runs import toy_sweep
from tests.support.runs.toy_sweep import jobs, seen, sweep

pytestmark = pytest.mark.slow

SWEEPER = """
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

class Recorder(Sweeper):
    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        (override,) = OverridesParser.create().parse_overrides(arguments)
        values = override.sweep_string_iterator()
        batches = [self.launcher.launch([[f"x={value}"]], index) for index, value in enumerate(values)]
        print("returned", [job.return_value for batch in batches for job in batch], flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_sweep.make(tmp_path)


def table(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The cells of the table that ends a sweep, from the last line of its heading on."""
    printed = done.stdout.partition("\nNext:\n")[0]
    lines = [line.split() for line in printed.splitlines() if "─" not in line and line[:5] != "pwfn:"]
    return lines[next(number for number, line in enumerate(lines) if line[:1] == ["job"] and "top" in line) :]


def test_each_job_has_a_process_a_folder_and_a_clean_environment(folder: Path) -> None:
    done = sweep(folder, "x=1,2", "hydra.job.name=toys", LOCAL_RANK="1", WORLD_SIZE="2", MASTER_PORT="1", KEPT="yes")
    assert done.returncode == 0, done.stderr
    first, second = seen(folder, 0), seen(folder, 1)
    assert (first["x"], second["x"]) == (1, 2)
    assert first["pid"] != second["pid"]
    assert [job["mode"] for job in (first, second)] == ["RUN", "RUN"]
    assert [job["num"] for job in (first, second)] == [0, 1]
    assert first["name"] == "toys"  # Hydra's other settings are passed on
    assert "-m" not in first["argv"]
    assert not any(word.startswith("hydra.launcher") for word in first["argv"])
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "OMP_NUM_THREADS"} & set(first["env"])
    assert first["env"]["KEPT"] == "yes"
    assert first["env"]["PWFN_SWEEP"] == second["env"]["PWFN_SWEEP"] == f"{folder.name}/sweep"
    assert "job says 1" in done.stdout
    assert "job says 2" in done.stdout
    assert table(done) == [["job", "x", "top", "bits"], ["0", "1", "1", "2"], ["1", "2", "2", "5"]]
    assert done.stdout.index("job says 2") < done.stdout.index("top")
    # one tree, and nothing beside it
    assert sorted(path.name for path in (folder / "sweep").iterdir()) == sorted(
        [".lock", "job0", "job1", "jobs.csv", "jobs.json", "multirun.yaml", "sweep.json"]
    )
    assert not (folder / "outputs").exists()
    assert not (folder / "multirun").exists()


def test_jobs_of_a_sweep_in_an_allocation_are_no_ranks_of_it(folder: Path) -> None:
    variables = ("SLURM_NTASKS", "SLURM_PROCID", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "TORCHELASTIC_RUN_ID")
    ranks = dict.fromkeys((*variables, "MASTER_PORT", "STANDALONE_PORT"), "1")
    done = sweep(folder, "x=1,2", "hydra.launcher.n_jobs=2", SLURM_TMPDIR="/scratch", **ranks)
    assert done.returncode == 0, done.stderr
    for job in (0, 1):
        environment = seen(folder, job)["env"]
        assert not ranks.keys() & environment.keys()
        assert environment["SLURM_TMPDIR"] == "/scratch"


def test_a_failed_job_does_not_stop_the_others(folder: Path) -> None:
    done = sweep(folder, "x=13,2", RAISE="0")
    assert done.returncode == 1
    assert seen(folder, 1)["x"] == 2
    assert f"pwfn: job 0 (x=13) in {folder / 'sweep/job0'} failed: exit code 1" in done.stderr.splitlines()
    assert "pwfn: 1 of 2 jobs failed" in done.stderr
    assert "job 1 (" not in done.stderr
    assert table(done)[1:] == [["1", "2", "2", "5"], ["0", "13", "FAILED:", "exit", "code", "1"]]
    # the one traceback is that of the job itself
    assert done.stderr.count("Traceback") == done.stderr.count("RuntimeError: unlucky") <= 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_job_that_cannot_be_started_does_not_stop_the_others(n_jobs: int, folder: Path) -> None:
    (folder / "sweep").mkdir()
    (folder / "sweep/job3").touch()  # in the place of its folder
    done = sweep(folder, "x=1,2,3,4", f"hydra.launcher.n_jobs={n_jobs}", CANNOT_START="1")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = {job["job"]: (job["status"], job["exit_code"], job["reason"]) for job in jobs(folder)}
    assert found[0] == found[2] == ("done", 0, None)
    assert found[1] == ("failed", 127, "it could not be started: [Errno 12] Cannot allocate memory")
    assert found[3][:2] == ("failed", 127)
    assert f"File exists: '{folder / 'sweep/job3'}'" in found[3][2]
    assert f"pwfn: job 1 (x=2) in {folder / 'sweep/job1'} failed: {found[1][2]}" in done.stderr.splitlines()
    assert "pwfn: 2 of 4 jobs failed" in done.stderr.splitlines()


def test_a_table_that_cannot_be_written_ends_no_job(folder: Path) -> None:
    (folder / "sweep/jobs.json").mkdir(parents=True)  # in its place
    done = sweep(folder, "x=1,2")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert f"pwfn: {folder / 'sweep/jobs.json'} cannot be written" in done.stderr
    assert len(table(done)) == 3


def test_a_plan_that_cannot_be_written_is_one_line(folder: Path) -> None:
    (folder / "sweep/sweep.json").mkdir(parents=True)
    done = sweep(folder, "x=1,2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"pwfn: {folder / 'sweep/sweep.json'} cannot be written" in done.stderr
    assert "Next:" not in done.stdout  # there is nothing to go on with
    assert not (folder / "sweep/job0").exists()


def test_parallel_jobs_share_the_threads(folder: Path) -> None:
    done = sweep(folder, "x=1,2", "hydra.launcher.n_jobs=2")
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
    option.write_text("_target_: hydra_plugins.recorder.recorder.Recorder\n")
    extra = folder / "more"
    extra.mkdir()
    done = sweep(folder, "--config-dir", str(extra), "x=1,2", "hydra/sweeper=recorder")
    assert done.returncode == 0, done.stderr
    assert "returned [1, 2]" in done.stdout
    assert len(table(done)) == 3  # one table, however many batches
    assert seen(folder, 0)["argv"][:4] == ["--config-name", "toy", "--config-dir", str(extra)]


def test_wrong_number_of_jobs_is_refused(folder: Path) -> None:
    done = sweep(folder, "x=1,2", "hydra.launcher.n_jobs=0")
    assert done.returncode == 1
    assert "hydra.launcher.n_jobs = 0: must be a whole number from 1" in done.stderr
    assert not (folder / "sweep/job0").exists()


@pytest.mark.parametrize(
    ("signal_name", "codes"),
    [("SIGINT", (1, 130, -signal.SIGINT)), ("SIGTERM", (143,)), ("SIGHUP", (129,)), ("SIGUSR2", (140,))],
)
def test_a_stopped_sweep_ends_its_jobs(signal_name: str, codes: tuple[int, ...], folder: Path) -> None:
    done = sweep(folder, "x=1,2", STOP_SWEEP=signal_name)
    assert done.returncode in codes
    assert not (folder / "sweep/job1").exists()  # none is started any more
    assert "not finished" in done.stdout
    with pytest.raises(ProcessLookupError):
        os.kill(seen(folder, 0)["pid"], 0)
