"""A small run that is finished. Read only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pwfn.run.start import Finished

SmallRun = Callable[..., Finished]


@pytest.fixture(scope="module")
def finished(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return small_run(tmp_path_factory.mktemp("finished"))
