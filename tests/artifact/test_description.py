"""What `describe` says of artifacts of earlier versions."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pwfn
from pwfn.artifact import container
from tests.support.project import RECORDED

VERSION_0_1 = RECORDED / "version_0_1" / "finished" / "model.pwfn"


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from targets(inner)


def test_the_configuration_of_version_0_1_names_the_classes_of_today() -> None:
    _, text, _, _ = container.read_header(VERSION_0_1)
    assert b'"pwfn.codebook.AdditivePow2"' in text
    config = pwfn.describe(VERSION_0_1)["config"]
    assert config["codebook"]["_target_"] == "pwfn.clustering.AdditivePow2"
    found = list(targets(config))
    assert len(found) > 8
    for target in found:
        wing, _, name = target.rpartition(".")
        assert name in importlib.import_module(wing).__all__, target
