"""What ends the processes of a loader, in the words of torch and of the system."""

from __future__ import annotations

import errno
import os

import pytest

from pwfn.data.loading.loader_faults import loader_fault, release


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "), "(signal: Killed)"),
        (RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"), "smaller data.num_workers"),
        (
            RuntimeError(
                "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that dataloader's workers "
                "are out of shared memory. Please try to raise your shared memory limit."
            ),
            "--shm-size",
        ),
        (RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)"), "--shm-size"),
        (RuntimeError("shared memory object </torch_1>: Too many open files (24)"), "ulimit -n"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "ulimit -n"),
        (OSError("Caught OSError in worker 0. [Errno 24] Too many open files: 'x.png'"), "ulimit -n"),
    ],
)  # fmt: skip
def test_one_line_with_what_helps(error: Exception, hint: str) -> None:
    said = loader_fault(error)
    assert said is not None
    assert hint in said
    assert "data.num_workers" in said
    assert "\n" not in said


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), OSError(errno.ENOENT, "x"), ValueError("ancdata")])
def test_other_errors_are_not_explained(error: Exception) -> None:
    assert loader_fault(error) is None


def test_an_error_while_another_one_is_handled_does_not_hide_it() -> None:
    """As Lightning raises one where the loader could not be started."""
    error = RuntimeError("Please call `iter(combined_loader)` first.")
    error.__context__ = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    assert loader_fault(error) == loader_fault(error.__context__)


def test_a_half_made_loader_is_let_go_of_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    ended: list[bool] = []

    class Loader:
        def __del__(self) -> None:
            ended.append(True)
            raise AttributeError("no _workers_status")

    def begin() -> None:
        half_made = Loader()
        raise OSError(errno.EMFILE, f"{half_made}")

    def fit() -> None:
        try:
            begin()
        finally:
            raise RuntimeError("Please call `iter(combined_loader)` first.")

    with pytest.raises(RuntimeError) as caught:
        fit()
    assert ended == []
    release(caught.value)
    assert ended == [True]
    assert "no _workers_status" not in capsys.readouterr().err
