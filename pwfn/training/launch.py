"""Compare the processes that a cluster's launcher has started with those that the trainer is to have."""

from __future__ import annotations

import os
from collections.abc import Mapping

_INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs in which Lightning starts the ranks itself
# by which Lightning knows LSF
_JSRUN = {"LSB_JOBID", "LSB_DJOB_RANKFILE", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE"}


def launch_fault(devices: int, num_nodes: int, environment: Mapping[str, str] = os.environ) -> str | None:
    """Say in one line why the ranks of a run would not be those that were started; None where they would.

    Lightning believes a launcher's variables: of two ranks, one whose launcher has started one task trains alone.

    Args:
        devices: `trainer.devices`, processes on each machine.
        num_nodes: `trainer.num_nodes`, machines.
        environment: the variables of this process.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return _torchrun_fault(devices, num_nodes, environment)
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in _INTERACTIVE:
        return _slurm_fault(devices, num_nodes, environment)
    return _jsrun_fault(devices, num_nodes, environment) if environment.keys() >= _JSRUN else None


def _torchrun_fault(devices: int, num_nodes: int, environment: Mapping[str, str]) -> str | None:
    started = _number(environment, "WORLD_SIZE")
    if started is None or started == devices * num_nodes:
        return None
    return (
        f"torchrun started {_count(started, 'process', 'processes')}, {_wanted(devices, num_nodes)}: "
        f"start it with torchrun --nnodes={num_nodes} --nproc-per-node={devices}"
    )


def _slurm_fault(devices: int, num_nodes: int, environment: Mapping[str, str]) -> str | None:
    tasks = _number(environment, "SLURM_NTASKS")
    single = devices * num_nodes == 1
    if tasks is None or (single and not environment.keys() & {"SLURM_STEP_ID", "SLURM_STEPID"}):
        return None  # the one process of a script, which srun has not started
    nodes = f"--nodes={num_nodes} " if num_nodes > 1 else ""
    how = f"start it with srun {nodes}--ntasks-per-node={devices}, or unset SLURM_*"
    if tasks != devices * num_nodes:
        return f"SLURM started {_count(tasks, 'task', 'tasks')}, {_wanted(devices, num_nodes)}: {how}"
    if single:
        return None
    per_node, here = _number(environment, "SLURM_NTASKS_PER_NODE"), _number(environment, "SLURM_NNODES")
    if per_node != devices:
        found = "does not say how many tasks a node has" if per_node is None else f"started {per_node} on each node"
        return f"SLURM {found}, {_wanted(devices, num_nodes)}: {how}"
    if here is not None and here != num_nodes:
        return f"SLURM started tasks on {_count(here, 'node', 'nodes')}, {_wanted(devices, num_nodes)}: {how}"
    return None


def _jsrun_fault(devices: int, num_nodes: int, environment: Mapping[str, str]) -> str | None:
    started = _number(environment, "JSM_NAMESPACE_SIZE")
    if devices * num_nodes in (1, started) or started is None:  # one process trains alone, whatever was started
        return None
    return (
        f"jsrun started {_count(started, 'task', 'tasks')}, {_wanted(devices, num_nodes)}: start it with jsrun "
        f"--nrs={num_nodes} --tasks_per_rs={devices}, or unset JSM_*"
    )


def _wanted(devices: int, num_nodes: int) -> str:
    return f"trainer.devices is {devices}" + (f", trainer.num_nodes {num_nodes}" if num_nodes > 1 else "")


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
