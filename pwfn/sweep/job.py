"""Describe one job of a sweep as a command line of its own: a new run, or one that is resumed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import filter_overrides
from omegaconf import DictConfig, OmegaConf

from pwfn.config import program
from pwfn.config.classes import OWN_MODULES, targets
from pwfn.config.hydra_internal import flags_of
from pwfn.config.output_folders import NAMED_BY
from pwfn.config.wording.quoting import quoted
from pwfn.records import failure
from pwfn.records.files import RESULT

# settings that make or place a sweep; a job has its own folder and is not a sweep
SWEEP_SETTINGS = ("hydra.mode", "hydra.sweep", "hydra.launcher", "hydra.sweeper", "hydra.run", NAMED_BY)
GO_ON = "resume=auto"  # the override that goes on with what the same command has begun
CONSOLE = "console.log"  # what a job prints, where several run at a time
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
STOPPED = (*(128 + number for number in _SIGNALS), *(-number for number in _SIGNALS))

# what DDP, torchrun and Lightning tell the ranks of one job; a new job must not take itself for one of them
RANK_VARIABLES = (
    "LOCAL_RANK",
    "RANK",
    "GROUP_RANK",
    "NODE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "STANDALONE_PORT",
    "PL_GLOBAL_SEED",
)
# the same of an allocation in which the sweep was started
RANK_PREFIXES = (
    "SLURM_",
    "SRUN_",
    "PMI_",
    "PMIX_",
    "OMPI_",
    "MPI_LOCAL",
    "TORCHELASTIC_",
    "JSM_NAMESPACE_",
    "FLUX_TASK_",
)
KEPT = ("SLURM_TMPDIR",)  # a folder, which a configuration may name


class Job(NamedTuple):
    """Hold a composed job that is not started; `command` is that of a new run."""

    number: int
    overrides: list[str]
    folder: Path
    command: list[str]
    config: DictConfig

    def __str__(self) -> str:
        return f"job {self.number} ({' '.join(self.overrides) or 'no overrides'}) in {self.folder}"

    def among(self, jobs: Sequence[Job]) -> str:
        """Return its number and the overrides that not all of `jobs` have; the sweep's plan has its folder."""
        own = [line for line in self.overrides if any(line not in job.overrides for job in jobs)]
        return " ".join([f"job {self.number}", *own])

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that the configuration sets, and those that a resumed job needs."""
        settings = OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"])
        named = {name.rpartition(".")[0] for name in targets(OmegaConf.to_container(settings))}
        own = sorted(module for module in named if not module.startswith("pwfn."))
        given = {str(name): str(value) for name, value in self.config.hydra.job.env_set.items()}
        if not own:
            return given
        # its folder names them, which is not enough: nothing that a file names is imported
        return {OWN_MODULES: ",".join([*filter(None, [os.environ.get(OWN_MODULES)]), *own]), **given}

    @property
    def finished(self) -> bool:
        """Return whether the job wrote its result, after which nothing but its report is left to do."""
        return (self.folder / RESULT).is_file()

    @property
    def begun(self) -> bool:
        """Return whether it left a checkpoint from which it can be resumed."""
        if not (self.folder / "config.yaml").is_file():
            return False
        from pwfn.checkpoint import files  # imports torch

        return bool(files.files(self.folder))

    def command_to_go_on(self) -> list[str]:
        """Return the command line that resumes the job."""
        return [*program.command(), *_conf(self.config), f"resume={self.folder}"]


def new_job(config: DictConfig, number: int, overrides: list[str], folder: Path) -> Job:
    """Return the job of a composed configuration.

    Args:
        config: with Hydra's own part.
        number: of the job.
        overrides: that make it so.
        folder: of the run.
    """
    task = [line for line in filter_overrides(overrides) if line != GO_ON]  # what the launcher does itself
    # no shell sees the command, so only Hydra's own quoting is needed
    settings = [line for line in config.hydra.overrides.hydra if not _is_sweep_setting(line)]
    own = [f"hydra.run.dir={quoted(str(folder))}", "hydra.mode=RUN", f"hydra.job.num={number}"]
    command = [*program.command(), *_conf(config), *task, *settings, *own]
    return Job(number, task, folder, command, config)


def environment_of_jobs(n_jobs: int) -> dict[str, str]:
    """Return the variables of every job: this process's without those of ranks, and a share of threads."""
    environment = {name: value for name, value in os.environ.items() if not _is_of_a_rank(name)}
    if n_jobs > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // n_jobs)))
    return environment


def _is_of_a_rank(name: str) -> bool:
    return name not in KEPT and (name in RANK_VARIABLES or name.startswith(RANK_PREFIXES))


def reason(folder: Path, code: int) -> str:
    """Return in one line why a job ended with an exit code other than 0."""
    told = failure.read(folder)
    if told is not None and code > 0:
        return told
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"killed by {name}{' (out of memory?)' if -code == signal.SIGKILL else ''}"
    return f"exit code {code}"


def _conf(config: DictConfig) -> list[str]:
    """Return the flags that tell where the configuration is."""
    given = flags_of(sys.argv[1:])
    flags = [("--config-name", config.hydra.job.config_name)]
    flags += [("--config-path", given.config_path), ("--config-dir", given.config_dir)]
    return [part for flag, value in flags if value is not None for part in (flag, str(value))]


def _is_sweep_setting(line: str) -> bool:
    key = OverridesParser.create().parse_overrides([line])[0].key_or_group.replace("/", ".")
    return any(key == setting or key.startswith(f"{setting}.") for setting in SWEEP_SETTINGS)
