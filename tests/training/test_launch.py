"""Processes that a cluster's launcher has started, and those that the trainer is to have."""

from __future__ import annotations

import pytest

from pwfn.config import resolvers
from pwfn.config.preflight import preflight
from pwfn.run.settings import TrainSettings
from pwfn.training.launch import launch_fault
from pwfn.training.trainer import TrainerSpec
from tests.support.project import PROJECT, SMALL

SLURM = "SLURM started"
STEP = {"SLURM_STEP_ID": "0"}
JSRUN = {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "f", "JSM_NAMESPACE_LOCAL_RANK": "0", "JSM_NAMESPACE_SIZE": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "0"}


@pytest.mark.parametrize(
    ("devices", "nodes", "environment", "fault"),
    [
        (
            2,
            1,
            {"SLURM_NTASKS": "1"},
            f"{SLURM} 1 task, trainer.devices is 2: start it with srun --ntasks-per-node=2, or unset SLURM_*",
        ),
        (
            8,
            2,
            {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "8"},
            f"{SLURM} 8 tasks, trainer.devices is 8, trainer.num_nodes 2: "
            "start it with srun --nodes=2 --ntasks-per-node=8, or unset SLURM_*",
        ),
        (1, 1, {"SLURM_NTASKS": "4", **STEP}, f"{SLURM} 4 tasks, trainer.devices is 1"),
        (4, 2, {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "8"}, "SLURM started 8 on each node, trainer.devices is"),
        (8, 1, {"SLURM_NTASKS": "8"}, "SLURM does not say how many tasks a node has"),
        (
            4,
            1,
            {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2"},
            "SLURM started tasks on 2 nodes, trainer.devices is 4",
        ),
        (
            2,
            1,
            {**TORCHRUN, "WORLD_SIZE": "3"},
            "torchrun started 3 processes, trainer.devices is 2: start it with torchrun --nnodes=1 --nproc-per-node=2",
        ),
        (1, 1, {**TORCHRUN, "WORLD_SIZE": "2", "SLURM_NTASKS": "1"}, "torchrun started 2 processes"),
        (2, 1, JSRUN, "jsrun started 1 task, trainer.devices is 2: start it with jsrun --nrs=1 --tasks_per_rs=2"),
    ],
)
def test_a_mismatch_is_one_line(devices: int, nodes: int, environment: dict[str, str], fault: str) -> None:
    said = launch_fault(devices, nodes, environment)
    assert said is not None
    assert said.startswith(fault)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("devices", "nodes", "environment"),
    [
        (2, 1, {}),
        (2, 1, {"LOCAL_RANK": "1", "WORLD_SIZE": "7"}),  # of a launcher that Lightning does not ask
        (1, 1, {"SLURM_NTASKS": "4"}),  # a script of sbatch without srun
        (1, 1, {"SLURM_NTASKS": "1", **STEP}),
        (2, 1, {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "bash"}),  # Lightning starts the ranks itself
        (8, 2, {"SLURM_NTASKS": "16", "SLURM_NTASKS_PER_NODE": "8", "SLURM_NNODES": "2", **STEP}),
        (2, 2, {**TORCHRUN, "WORLD_SIZE": "4"}),
        (2, 1, {"SLURM_NTASKS": "many"}),
    ],
)
def test_what_fits_is_let_through(devices: int, nodes: int, environment: dict[str, str]) -> None:
    assert launch_fault(devices, nodes, environment) is None


@pytest.mark.slow
def test_it_is_refused_before_anything_is_made_and_a_sweep_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resolvers.register()
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)
    given = [*SMALL, "trainer=ddp_cpu"]

    def check(*arguments: str) -> None:
        preflight(TrainSettings, PROJECT / "conf", "train", arguments, TrainSettings.launch_faults)

    with pytest.raises(SystemExit) as stopped:
        check(*given)
    assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == [f"  {launch_fault(2, 1)}"]
    check("-m", *given, "seed=0,1")  # its jobs have processes, and an environment, of their own
    check(*given, "dry_run=true")


def test_a_single_process_is_no_rank_of_an_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would refuse this one: it takes the allocation's four tasks for processes of the run."""
    for name, value in {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    trainer = TrainerSpec(accelerator="cpu").build(folder=".", callbacks=[], logger=None)
    assert (trainer.world_size, trainer.global_rank) == (1, 0)
