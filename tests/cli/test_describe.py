"""`pwfn describe` in a pipe."""

from __future__ import annotations

import subprocess
import sys

from tests.support.project import PROJECT, RECORDED, clean_environment


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "pwfn", "describe", str(RECORDED / "version_0_1/finished/model.pwfn")]
    with subprocess.Popen(
        command, cwd=PROJECT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
