"""The command `pwfn`: an installed package outside its checkout, which starts itself again as it was started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pwfn.cli import main as dispatcher
from pwfn.config import program
from pwfn.records.provenance import Provenance
from pwfn.report.collect import read_run
from pwfn.report.details import repeat
from tests.support.project import PROJECT, RECORDED, SMALL, clean_environment

pytestmark = pytest.mark.slow

SCRIPT = "import sys\nfrom pwfn.cli.main import main\nsys.exit(main())\n"  # what pip writes for an entry point
ARTIFACT = RECORDED / "version_0_1/finished/model.pwfn"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as site-packages is, with the configuration inside the package, and the command in bin/."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(PROJECT / "pwfn", site / "pwfn", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "conf", site / "pwfn/conf")
    shutil.copytree(PROJECT / "hydra_plugins", site / "hydra_plugins")
    (site / "bin").mkdir()
    (site / "bin/pwfn").write_text(SCRIPT)
    return site


def command(site: Path, way: str) -> list[str]:
    return [sys.executable, *(["-m", "pwfn"] if way == "module" else [str(site / "bin/pwfn")])]


def run(site: Path, folder: Path, *words: str, way: str = "script", **variables: str) -> tuple[int, str, str]:
    environment = clean_environment(PYTHONPATH=str(site), COLUMNS="200", **variables)
    done = subprocess.run(
        [*command(site, way), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_the_list_of_subcommands_is_there_at_once(words: list[str]) -> None:
    code = f"import sys; sys.argv[:] = ['bin/pwfn', *{words}]; from pwfn.cli.main import main; code = main()\n"
    code += "sys.exit(code or 'torch' in sys.modules or 'hydra' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [f"{name:<9} {does}" for name, does in dispatcher.SUBCOMMANDS.items()] == [
        line.strip() for line in done.stdout.splitlines()[-len(dispatcher.SUBCOMMANDS) :]
    ]
    assert len(dispatcher.EXAMPLES) == 6
    for what, example in dispatcher.EXAMPLES.items():
        assert f"{what}\n  pwfn {example}\n" in done.stdout


def test_the_examples_begin_with_the_words_that_started_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pwfn"], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300
    )
    examples = [line for line in done.stdout.splitlines() if line.strip().startswith(("pwfn", "python"))]
    assert examples == [f"  python -m pwfn {example}" for example in dispatcher.EXAMPLES.values()]


def test_a_mistyped_subcommand_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["pwfn", "trian", "seed=1"])
    assert dispatcher.main() == 2
    names = "train, evaluate, animate, export, describe"
    said = f"pwfn: 'trian' is no subcommand: must be one of {names}; the nearest is train\n"
    assert capsys.readouterr() == ("", said)


def test_describe_shows_the_header(installed: Path, tmp_path: Path) -> None:
    import pwfn

    code, out, err = run(installed, tmp_path, "describe", str(ARTIFACT), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(json.dumps(pwfn.describe(ARTIFACT)))
    code, out, err = run(installed, tmp_path, "describe", "nothing.pwfn", way="module")
    assert (code, out, err) == (2, "", "pwfn: nothing.pwfn is not a file\n")


def test_export_is_the_module_export(installed: Path, tmp_path: Path) -> None:
    code, _, err = run(installed, tmp_path, "export", str(ARTIFACT), "--to", "safetensors", "--out", "net.safetensors")
    assert code == 0, err
    assert (tmp_path / "net.safetensors").stat().st_size > 1000
    code, _, err = run(installed, tmp_path, "export")
    assert code == 2
    assert err.startswith("usage: pwfn export ")


@pytest.mark.parametrize("way", ["script", "module"])
def test_a_settings_file_of_the_users_own_is_used_from_any_folder(way: str, installed: Path, tmp_path: Path) -> None:
    own = tmp_path / "own/experiment"
    own.mkdir(parents=True)
    lines = ["# @package _global_", "defaults: [smoke, _self_]", "seed: 17", "dry_run: true", "report: false"]
    (own / "mine.yaml").write_text("\n".join(lines))
    words = ("train", "--config-dir", "own", "experiment=mine", "logger=none", "hydra.run.dir=run")
    code, _, err = run(installed, tmp_path, *words, way=way)
    assert code == 0, err
    assert "seed: 17" in (tmp_path / "run/config.yaml").read_text()
    code, _, err = run(installed, tmp_path, "train", "experiment=mine", way=way)
    assert code == 2
    assert "experiment = 'mine': must be one of" in err


@pytest.mark.slow
@pytest.mark.parametrize("way", ["script", "module"])
def test_a_sweep_starts_its_jobs_as_it_was_started(way: str, installed: Path, tmp_path: Path) -> None:
    sweep = ("train", "-m", *SMALL, "dry_run=true", "seed=0,1", "hydra.sweep.dir=sweep")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/1_seed-1").touch()  # in the place of a job's folder: this job fails
    code, out, err = run(installed, tmp_path, *sweep, way=way)
    assert code == 1, err
    typed = "pwfn" if way == "script" else "python -m pwfn"
    assert out.endswith(f"\nNext:\n  resume it   {typed} train -m resume_sweep=sweep\n")
    (tmp_path / "sweep/1_seed-1").unlink()
    code, out, err = run(installed, tmp_path, "train", "-m", "resume_sweep=sweep", way=way)
    assert code == 0, err
    assert [job["status"] for job in json.loads((tmp_path / "sweep/jobs.json").read_text())] == ["done"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("way", ["script", "module"])
def test_two_processes_are_started_and_a_stopped_run_says_how_to_go_on(
    way: str, installed: Path, tmp_path: Path
) -> None:
    many = ["schedule.rest_epochs=1000", "checkpoint.every_steps=5", "trainer=ddp_cpu", "hydra.run.dir=run"]
    environment = clean_environment(PYTHONPATH=str(installed))
    running = subprocess.Popen(
        [*command(installed, way), "train", *SMALL, *many],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 200
    while not (tmp_path / "run/rounds.json").exists() and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.1)
    running.terminate()
    _, err = running.communicate(timeout=60)
    assert running.returncode == 143, err
    typed = "pwfn" if way == "script" else "python -m pwfn"
    assert f"; resume with: {typed} train resume={tmp_path / 'run'}\n" in err
    recorded = json.loads((tmp_path / "run/provenance.json").read_text())
    assert recorded["command"].startswith(f"{typed} train experiment=smoke ")
    assert recorded["commit"] is None
    shown = dict(repeat(read_run(tmp_path / "run", "run")))["command"]
    assert shown.startswith(f"{typed} train experiment=smoke ")
    assert "hydra.run.dir" not in shown
    code, _, err = run(installed, tmp_path, "train", "resume=run", "seed=1", way=way)
    assert code == 2
    assert "seed = 1: must be 0, as in the run that is resumed" in err


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("pwfn ", {"train", "evaluate", "export", "describe", "animate"}),
        ("pwfn ex", {"train", "evaluate", "export", "describe", "animate"}),  # the shell picks those that fit
        ("pwfn train prio", {"prior=", "prior."}),
        ("pwfn train trainer=ddp", {"trainer=ddp", "trainer=ddp_cpu"}),
        ("pwfn evaluate sampl", {"samples="}),
        ("pwfn describe mod", set()),
    ],
)
def test_the_shell_is_told_how_a_line_may_go_on(
    line: str, completed: set[str], installed: Path, tmp_path: Path
) -> None:
    code, out, err = run(installed, tmp_path, "-sc", "query=bash", COMP_LINE=line)
    assert code == 0, err
    assert set(out.split()) == completed


def test_completion_is_installed_for_the_command(installed: Path, tmp_path: Path) -> None:
    code, out, err = run(installed, tmp_path, "-sc", "install=bash")
    assert code == 0, err
    assert out.strip().endswith("-F hydra_bash_completion pwfn")


def test_what_is_started_again_is_what_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "_subcommand", None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py"), "seed=1"])
    assert program.command() == [sys.executable, str(tmp_path / "train.py")]
    assert (program.typed("evaluate"), program.recorded()) == (["python", "evaluate.py"], ["train.py"])
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin/pwfn"), "train", "seed=1"])
    assert program.take_subcommand() == "train"
    assert sys.argv[1:] == ["seed=1"]
    assert program.command() == [sys.executable, str(tmp_path / "bin/pwfn"), "train"]
    assert program.typed("evaluate") == ["pwfn", "evaluate"]
    with program.whole_arguments():
        assert sys.argv == [str(tmp_path / "bin/pwfn"), "train", "seed=1"]
        assert program.arguments() == ["seed=1"]
        assert Provenance.of_this_program().command == "pwfn train seed=1"
    assert sys.argv[1:] == program.arguments() == ["seed=1"]


def test_the_configuration_of_a_checkout_and_of_an_installed_package(installed: Path, tmp_path: Path) -> None:
    assert program.conf_folder() == PROJECT / "conf"
    assert program.checkout() == PROJECT
    code = "from pwfn.config import program; print(program.conf_folder(), program.checkout())"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(installed / "pwfn/conf"), "None"]
