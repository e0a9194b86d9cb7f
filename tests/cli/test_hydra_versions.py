"""Hydra 1.3 and 1.4 are asked for the same in the words of each."""

from __future__ import annotations

from typing import Any

import hydra
import pytest
from hydra import compose, initialize_config_dir

from pwfn.cli import hydra_program
from pwfn.config import resolvers
from pwfn.config.classes import targets
from tests.support.project import CONF

ALLOWED = hydra_program.may_be_started()


@pytest.mark.parametrize(
    ("version", "asked"),
    [("1.3.8", {"version_base": "1.3"}), ("1.4.0", {"execution_whitelist": ALLOWED})],
)
def test_each_version_is_asked_for_what_it_knows(
    version: str, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dict[str, Any]()

    def main(**arguments: Any) -> Any:
        given.update(arguments)
        return lambda task: task

    monkeypatch.setattr(hydra, "__version__", version)
    monkeypatch.setattr(hydra, "main", main)
    hydra_program.start(lambda: None, "train")  # type: ignore[arg-type,misc]
    assert given == {"config_path": str(CONF), "config_name": "train", **asked}


def may_be_started(target: str) -> bool:
    return target.startswith(tuple(pattern.removesuffix("*") for pattern in hydra_program.may_be_started()))


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_hydra_may_start_what_the_configuration_names(name: str) -> None:
    resolvers.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        own = compose(name, return_hydra_config=True).hydra
    handlers = [handler["class"] for handler in own.job_logging.handlers.values()]
    named = [*targets(own.get("callbacks")), own.launcher._target_, own.sweeper._target_, *handlers]
    assert [target for target in named if not may_be_started(target)] == []


def test_hydra_may_start_what_the_user_names(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = ("my_callbacks.Mine", "my.handlers.Mine")
    assert not any(map(may_be_started, mine))
    monkeypatch.setenv("PWFN_IMPORT", "my_callbacks,my.handlers")
    assert all(map(may_be_started, (*mine, "rich.logging.RichHandler")))
    assert not may_be_started("json.JSONDecoder")
