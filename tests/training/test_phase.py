"""A phase is described without Lightning, which takes seconds to import: dry runs need only the description."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.project import PROJECT


@pytest.mark.slow
@pytest.mark.parametrize("module", ["pwfn.training", "pwfn.training.phase", "pwfn.preview.dry_run"])
def test_no_lightning_is_imported(module: str) -> None:
    program = f"import sys, {module}; raise SystemExit('pytorch_lightning' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True, timeout=120)
