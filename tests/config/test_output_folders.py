"""Folders of runs, sweeps and jobs: what they are called, and that nobody gets one twice."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from pwfn.config.output_folders import claimed
from pwfn.config.resolvers import LONGEST, job_folder, moment
from tests.support.project import PROJECT, clean_environment


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("", "7"),
        ("seed=0", "7_seed-0"),
        ("optimizer.lr=1e-3,seed=1", "7_optimizer.lr-1e-3+seed-1"),
        ("schedule.fractions=[0.6,1.0]", "7_schedule.fractions-0.6+1.0"),
        ("+data.root=/data/set,name='a b'", "7_data.root--data-set+name-a-b"),
        ("name=../../etc", "7_name-..-..-etc"),
        ("name=Ünïcode$(x)`", "7_name-ncodex"),
    ],
)
def test_a_job_is_called_by_its_overrides(overrides: str, name: str) -> None:
    assert job_folder(7, overrides) == name


@given(st.integers(0, 10**6), st.text(max_size=300))
def test_any_name_is_safe_for_shells_file_systems_and_hydra(number: int, overrides: str) -> None:
    name = job_folder(number, overrides)
    assert re.fullmatch(r"\d+(_[A-Za-z0-9_.+-]+)?", name)
    assert len(name) <= LONGEST
    assert name.partition("_")[0] == str(number)  # so no two jobs of a sweep can meet
    override = OverridesParser.create().parse_override(f"run=multirun/a/{name}")
    assert override.value() == f"multirun/a/{name}"
    assert not override.is_sweep_override()


def test_long_names_that_begin_alike_stay_apart() -> None:
    one, other = (job_folder(0, "name=" + "x" * 400 + end) for end in "ab")
    assert one != other
    assert len(one) == len(other) == LONGEST


def test_a_moment_is_a_day_and_a_time_to_the_millisecond() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d_\d{3}", moment())


def test_whoever_claims_a_folder_has_it_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: claimed(tmp_path / "day/run"), range(64)))
    assert len(set(folders)) == 64
    assert all(folder.is_dir() for folder in folders)
    assert {"run", "run-2", "run-64"} <= {folder.name for folder in folders}


CONFIG = """
hydra:
  run: {dir: outputs/same}
  sweep: {dir: multirun/same, subdir: "${job_folder:${hydra.job.num},${hydra.job.override_dirname}}"}
  callbacks: {folders: {_target_: pwfn.config.OwnFolder}}
a: 1
b: 2
name: x
"""
PROGRAM = """
import hydra
from hydra.core.hydra_config import HydraConfig
from pwfn.config import resolvers

@hydra.main(version_base="1.3", config_path=".", config_name="toy")
def main(cfg):
    print(HydraConfig.get().runtime.output_dir)

if __name__ == "__main__":
    resolvers.register()
    main()
"""


@pytest.mark.slow
def test_runs_and_sweeps_of_the_same_moment_have_folders_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(CONFIG)
    (tmp_path / "toy.py").write_text(PROGRAM)
    environment = clean_environment(PYTHONPATH=str(PROJECT))
    sweep = ["-m", "a=1,2", "b=7", "+c=1,2", "name='x/y, z'"]
    calls = [[], [], ["hydra.run.dir=chosen"], ["hydra.run.dir=chosen"], sweep, sweep]
    running = [
        subprocess.Popen(
            [sys.executable, "toy.py", *call], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )
        for call in calls
    ]
    said = [process.communicate(timeout=60)[0].split("\n") for process in running]
    assert [process.returncode for process in running] == [0] * len(calls)
    assert {said[0][0], said[1][0]} == {str(tmp_path / f"outputs/same{end}") for end in ("", "-2")}
    assert said[2][0] == said[3][0] == str(tmp_path / "chosen")
    jobs = ["0_c-1+a-1", "1_c-2+a-1", "2_c-1+a-2", "3_c-2+a-2"]  # by what tells them apart
    for end in ("", "-2"):
        assert sorted(path.name for path in (tmp_path / f"multirun/same{end}").glob("[0-9]*")) == jobs
