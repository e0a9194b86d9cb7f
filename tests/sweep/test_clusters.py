"""Sweeps on clusters, as far as they can be tested without one. (submitit's are in test_submitit.py.)"""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from hydra import compose, initialize_config_dir

from pwfn.config import resolvers
from pwfn.config.preflight import preflight
from pwfn.run.settings import TrainSettings
from tests.support.project import PROJECT

RAY = "hydra_plugins.hydra_ray_launcher"


def test_the_ray_launcher_composes() -> None:
    resolvers.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(PROJECT / "conf")):
        cfg = compose("train", ["hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=1"], return_hydra_config=True)
    launcher = cfg.hydra.launcher
    assert launcher._target_.startswith(f"{RAY}.")
    assert set(launcher) == {"_target_", "ray"}
    assert launcher.ray.init == {"address": None}
    assert launcher.ray.remote == {"num_cpus": 1, "num_gpus": 1}


@pytest.mark.skipif(find_spec(RAY) is not None, reason="the extra ray is installed")
def test_a_launcher_that_is_not_installed_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    resolvers.register()
    with pytest.raises(SystemExit):
        preflight(TrainSettings, PROJECT / "conf", "train", ["-m", "hydra/launcher=ray", "seed=0,1"])
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == [
        f"  hydra/launcher = 'ray': must be one that is installed; {RAY} is not (docs/sweeps.md says how)"
    ]
