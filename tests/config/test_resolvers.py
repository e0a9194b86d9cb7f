"""The functions that conf/ calls are registered with each OmegaConf by the name that it has for that."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import ClassVar

import pytest

from pwfn.config import resolvers

NAMES = {"small_patch", "epochs_unless_weights", "job_folder", "moment", "typed"}


class Later:
    """What OmegaConf 2.4 has of this."""

    registered: ClassVar[dict[str, bool]] = {}

    @classmethod
    def register_resolver(
        cls, name: str, resolver: Callable[..., object], *, replace: bool = False, use_cache: bool = False
    ) -> None:
        cls.registered[name] = use_cache

    @classmethod
    def register_new_resolver(cls, *args: object, **options: object) -> None:
        warnings.warn("register_new_resolver() is deprecated", UserWarning, stacklevel=2)


def test_a_later_omegaconf_has_nothing_to_warn_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers, "OmegaConf", Later)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolvers.register()
    assert Later.registered == {name: name == "moment" for name in NAMES}


def test_the_present_one_neither() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolvers.register()
