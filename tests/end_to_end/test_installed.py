"""A wheel, installed far from any checkout, has the commands, the configuration and the report's page inside."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.project import CONF, PROJECT, SMOKE, clean_environment

pytestmark = pytest.mark.slow
SOURCES = ("pwfn", "conf", "hydra_plugins", "pyproject.toml", "setup.py", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")


def checked(*command: str | Path, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder, env=clean_environment(**environment), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, since a build leaves files beside them."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    checked(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "dist", ".", folder=folder)
    (built,) = (folder / "dist").glob("pwfn-*.whl")
    return built


def test_the_wheel_has_every_module_yaml_and_asset_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {f"pwfn/conf/{path.relative_to(CONF)}" for path in CONF.rglob("*.yaml")}
    for folder in ("pwfn", "hydra_plugins"):
        expected |= {str(path.relative_to(PROJECT)) for path in (PROJECT / folder).rglob("*.py")}
    expected |= {str(path.relative_to(PROJECT)) for path in (PROJECT / "pwfn/report/assets").iterdir()}
    assert names == expected | {"pwfn/py.typed"}


def test_the_installed_program_trains_evaluates_exports_and_describes(wheel: Path, tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    checked(*PIP, "install", "--no-deps", "--no-index", "--target", site, wheel, folder=tmp_path)
    quiet = {f"WANDB_{kind}_DIR": str(tmp_path / "wandb") for kind in ("DATA", "CACHE", "CONFIG")}

    def pwfn(*arguments: str) -> str:
        return checked(site / "bin" / "pwfn", *arguments, folder=work, PYTHONPATH=str(site), **quiet)

    where = checked(sys.executable, "-c", "import pwfn; print(pwfn.__file__)", folder=work, PYTHONPATH=str(site))
    assert Path(where.strip()).is_relative_to(site)
    pwfn("train", *SMOKE)
    assert (work / "run/model.pwfn").is_file()
    assert "run" in pwfn("evaluate", "run=run")
    assert pwfn("describe", "run/model.pwfn")
    pwfn("export", "run/model.pwfn", "--to", "safetensors")
    assert list((work / "run").glob("*.safetensors"))
