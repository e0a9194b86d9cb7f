"""Train, inspect or dry-run one configuration; end in one line and an exit code on failure."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pwfn.cli import again, hydra_program
from pwfn.config import build, program
from pwfn.config.secrets import without_given_secrets
from pwfn.errors import RunError, Stopped
from pwfn.records import failure
from pwfn.records.files import CHECKPOINTS, NotWritten, megabytes, size_of
from pwfn.records.folder_lock import FolderBusy
from pwfn.run.one_writer import folder_of_run
from pwfn.run.settings import TrainSettings
from pwfn.sweep.folder import SWEEP, name_of
from pwfn.sweep.job import GO_ON

SHARED_PROCESS = (
    "BasicLauncher",
    "JoblibLauncher",
    ".LocalLauncher",
    "RayLauncher",
)  # whose jobs share a process or command line


def train(cfg: DictConfig) -> float:
    """Run `cfg` in Hydra's output folder and return one figure for sweepers.

    Returns:
        The final top1 (percent), the expected megabytes of a dry run, or the percentage an inspection found covered.
    """
    hydra = HydraConfig.get()
    settings = build.load(TrainSettings, cfg, importable=None, seen_from=hydra_program.started_in())
    folder = Path(hydra.runtime.output_dir)
    if faults := settings.launch_faults():  # of a job that another launcher has started, within a sweep
        build.refuse(faults)
    with own_folder(folder, settings):
        if again.is_wanted(settings, folder):
            return again.go_on(cfg, folder)
        return _do(settings, OmegaConf.to_container(cfg, resolve=True), folder, hydra)


def go_on(settings: TrainSettings, config: Any, folder: Path) -> None:
    """Resume a run.

    Args:
        settings: of the run.
        config: the resolved configuration that they were built from.
        folder: of the run.
    """
    from pwfn.run.start import run

    with own_folder(folder, settings):
        run(settings, config, folder, name=folder.name, resume=True)


@contextmanager
def own_folder(folder: Path, settings: TrainSettings) -> Iterator[None]:
    """Do as `ended_in_one_line`, as the only writer of the folder: a second one ends with exit code 1."""
    try:
        with folder_of_run(settings, folder), ended_in_one_line(folder):
            yield
    except (FolderBusy, NotWritten) as error:
        print(f"pwfn: {error}", file=sys.stderr)
        raise SystemExit(1) from None


@contextmanager
def ended_in_one_line(folder: Path) -> Iterator[None]:
    """End a run that fails or is stopped with one line and an exit code; keep the reason in its folder."""
    failure.forget(folder)
    try:
        yield
    except RunError as error:
        if error.on_all_ranks and _is_another_rank():
            raise SystemExit(0) from None  # rank 0 says it; Lightning would kill it if this one seemed to fail
        failure.write(folder, str(error))
        print(f"pwfn: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except (Stopped, KeyboardInterrupt) as stop:
        stopped = stop if isinstance(stop, Stopped) else Stopped("Ctrl-C", 130)
        if _is_another_rank():
            # all ranks have stopped together and rank 0 says so; Lightning kills it if another one seems to fail
            raise SystemExit(0 if stopped.saved else stopped.exit_code) from None
        failure.write(folder, str(stopped))
        begun = (folder / CHECKPOINTS).is_dir()
        command = " ".join(program.typed("train"))
        more = f"; resume with: {command} resume={shlex.quote(str(folder))}" if begun else ""
        print(f"pwfn: {stopped}{more}{_left_in(folder)}", file=sys.stderr)
        if stopped.saved:
            from pwfn.training.signals import pass_on

            pass_on(stopped)
        raise SystemExit(stopped.exit_code) from None
    except Exception as error:  # nobody's typo: its traceback is wanted as well
        from pwfn.training import distributed

        if distributed.has_lost_another(error) and (reason := failure.awaited(folder)):
            print(f"pwfn: another process of this run has ended: {reason}", file=sys.stderr)
            raise SystemExit(1) from None
        failure.write(folder, f"{type(error).__name__}: {error}")
        raise


def _left_in(folder: Path) -> str:
    """Return a line with a stopped run's checkpoints and how to remove them; empty without any."""
    from pwfn.checkpoint import files

    if not (made := files.files(folder)):
        return ""
    place = folder / CHECKPOINTS
    names = ", ".join(path.name for path in made)
    return (
        f"\npwfn: its checkpoints take {megabytes(size_of(place))} ({names}); to give the run up, remove them: "
        f"rm -r {shlex.quote(str(place))}"
    )


def _is_another_rank() -> bool:
    """Tell whether this process of the run is not the one that speaks for all."""
    from pytorch_lightning.utilities import rank_zero_only

    return int(getattr(rank_zero_only, "rank", 0)) > 0


def _do(settings: TrainSettings, config: Any, folder: Path, hydra: Any) -> float:
    # each task imports only what it needs: Lightning alone takes seconds
    if settings.inspect:
        from pwfn.preview.inspection import inspect

        return 100 * inspect(settings, config, folder).share
    if settings.dry_run:
        from pwfn.preview.dry_run_report import dry_run

        return dry_run(settings, config, folder)[-1].size.entropy_mb
    from pwfn.run.start import run

    _refuse_shared_process(hydra, settings.trainer.devices * settings.trainer.num_nodes)
    given = [line for line in hydra.overrides.task if line != GO_ON]
    overrides = without_given_secrets(" ".join(given)) or "default"
    sweep = _sweep(hydra)
    # the folder of a sweep's job is called by what tells it from the others
    own = folder.name if sweep is not None and not folder.name.isdigit() else overrides
    name = settings.logger.name_of(settings.name, own)
    return run(settings, config, folder, name=name, group=sweep).records[-1].judged.top1


def _sweep(hydra: Any) -> str | None:
    """Return the sweep of this run: from the process launcher, or another launcher's folder."""
    if hydra.mode is not None and hydra.mode.name == "MULTIRUN":
        return name_of(Path(hydra.sweep.dir))
    return os.environ.get(SWEEP)


def _refuse_shared_process(hydra: Any, processes: int) -> None:
    """Refuse DDP in a shared process: it repeats the whole command line, here the whole sweep."""
    target = str(hydra.launcher.get("_target_", ""))
    if hydra.mode is not None and hydra.mode.name == "MULTIRUN" and processes > 1 and target.endswith(SHARED_PROCESS):
        option = hydra.runtime.choices.get("hydra/launcher")
        build.refuse(
            [
                f"hydra/launcher = {option!r}: must be process, or another launcher that gives each job processes of "
                f"its own, for jobs of {processes} processes each (trainer.devices, trainer.num_nodes)"
            ]
        )
