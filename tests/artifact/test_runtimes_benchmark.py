"""benchmarks/runtimes.py makes the rows of docs/runtimes.md for every runtime that is installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import pwfn
from tests.support.clustered import clustered
from tests.support.project import PROJECT, clean_environment

PROGRAM = PROJECT / "benchmarks" / "runtimes.py"
DATA = {"mean": [0.5], "std": [0.5], "interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center"}
# where they are not installed, the benchmark's own line is looked at
PACKAGES = {
    "onnxruntime": "onnxruntime",
    "onnxruntime-indices": "onnxruntime",
    "onnxruntime-dense": "onnxruntime",
    "openvino": "openvino",
    "openvino-dense": "openvino",
    "torchao": "torchao",
    "executorch": "executorch",
    "coreai": "coreai_torch",
    "nnc": "nncodec",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "model.pwfn"
    network = clustered("test_vit", img_size=32)
    pwfn.save(path, network, args={"img_size": 32}, data={**DATA, "input_size": [3, 32, 32]})
    return path


def rows(artifact: Path, folder: Path, *arguments: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(artifact), *arguments],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=1800,
    )
    lines = [line.partition(": ") for line in done.stdout.splitlines()]
    return {name: row for name, _, row in lines}


def test_a_runtime_gives_a_row_or_says_how_to_install_it(artifact: Path, tmp_path: Path) -> None:
    names = [name for name in PACKAGES if name != "onnxruntime"]  # as onnxruntime-indices
    found = rows(artifact, tmp_path, *(word for name in names for word in ("--runtime", name)))
    assert list(found) == names
    for name, row in found.items():
        if find_spec(PACKAGES[name]) is None:
            assert row.startswith("missing pip install ")
        else:
            assert row.startswith("versions ")
            assert name == "coreai" or "logits within" in row or "bit for bit" in row


def test_a_runtime_that_does_not_end_is_named(artifact: Path, tmp_path: Path) -> None:
    found = rows(artifact, tmp_path, "--runtime", "onnxruntime", "--timeout", "0.01")
    assert found == {"onnxruntime": "failed had not ended after 0.01 s"}


def test_every_runtime_of_the_table_is_one_of_the_benchmark() -> None:
    page = (PROJECT / "docs" / "runtimes.md").read_text(encoding="utf-8")
    assert "benchmarks/runtimes.py" in page
    assert [name for name in PACKAGES if f"`{name}`" not in page] == []
