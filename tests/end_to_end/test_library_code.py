"""The library code of docs/library.md runs; the README's code does in test_artifact_run.py."""

from __future__ import annotations

import re

import torch

from tests.support.project import PROJECT


def test_the_library_code_of_the_docs_runs() -> None:
    blocks = re.findall(r"```python\n(import timm\n.*?)```", (PROJECT / "docs/library.md").read_text(), re.S)
    (code,) = blocks
    torch.manual_seed(0)
    exec(code, names := {})
    assert not any("parametrizations" in name for name, _ in names["model"].named_parameters())
    assert names["model"].eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
