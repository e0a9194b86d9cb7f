"""What is said of a command line before anything is built: every fault, one line each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pwfn.config.preflight import preflight
from tests.support.runs.toy_settings import HERE, Settings

Check = Callable[..., list[str] | None]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    files = {
        "train.yaml": "defaults:\n  - prior: constant\n  - experiment: null\n  - _self_\n"
        "seed: 0\nmode: joint\nname: run\noptimizer: {lr: 0.1, momentum: 0.9}\nfractions: [0.5, 1.0]\n",
        "prior/constant.yaml": f"_target_: {HERE}.Constant\nsigma: 0.5\n",
        "prior/scaled.yaml": f"_target_: {HERE}.Scaled\nscale: 2.0\n",
        "experiment/best.yaml": "# @package _global_\ndefaults:\n  - override /prior: scaled\nseed: 7\n",
        "other.yaml": "defaults:\n  - prior: constant\n  - _self_\nseed: x\noptimizer: {lr: 0.1}\n",
        "sweep.yaml": "defaults:\n  - train\n  - _self_\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params: {seed: '1,x'}\n",
        "extra/prior/wide.yaml": f"_target_: {HERE}.Constant\nsigma: 9.0\n",
    }
    for name, text in files.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(*argv: str) -> list[str] | None:
        """The fault lines, or None where the command line passed without a word."""
        code = None
        try:
            preflight(Settings, tmp_path / "conf", "train", argv)
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        assert out == ""
        if code is None:
            assert err == ""
            return None
        head, *lines = err.splitlines()
        assert code == 2
        said, _, pages = head.partition(" in the configuration")
        assert said == f"pwfn: {len(lines)} fault{'s' * (len(lines) > 1)}"
        assert pages == ":" or (pages.startswith(" (docs/") and pages.endswith(".md):"))
        return [line.strip() for line in lines]

    return run


@pytest.mark.parametrize(
    "line",
    [
        "",
        "seed=3 optimizer.lr=1e-3 prior=scaled prior.scale=1",
        "experiment=best",
        "prior=scaled +prior.clip=1.0",
        "++optimizer.nesterov=true",
        "+extra.free=1",
        "fractions=[0.1,0.2]",
        "~name",
        "~optimizer.momentum",
        "-m seed=0,1,2 prior=constant,scaled",
        "-m seed=range(3) optimizer.lr=choice(0.1,0.2) prior=glob(*)",
        "hydra.run.dir=somewhere hydra.job.name=train_ddp_process_1 hydra.output_subdir=null",
        "hydra.run.dir='a b=c' hydra.mode=RUN hydra.job.num=3",
        "-m hydra/launcher=basic seed=1,2",
        "--help lr=1",
        "--cfg job lr=1",
        "--info searchpath lr=1",
    ],
)
def test_right_command_lines_pass_in_silence(check: Check, line: str) -> None:
    assert check(*(["hydra.run.dir='a b=c'"] if "'" in line else line.split())) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("optimizer.lrr=1", "optimizer.lrr = 1: unknown key; the nearest is optimizer.lr;"),
        ("+optimizer.lrr=1", "optimizer.lrr = 1: unknown key; the nearest is optimizer.lr;"),
        ("++optimizer.lrr=1", "optimizer.lrr = 1: unknown key; the nearest is optimizer.lr;"),
        ("lr=1", "lr = 1: unknown key; the nearest is optimizer.lr;"),
        ("priro=scaled", "priro = 'scaled': unknown key; the nearest is prior;"),
        ("prior=scalde", "prior = 'scalde': must be one of constant, scaled; the nearest is scaled"),
        ("experimnt=best", "experimnt = 'best': unknown key; the nearest is experiment;"),
        ("prior=const", "prior = 'const': must be one of constant, scaled; the nearest is constant"),
        ("experiment=bets", "experiment = 'bets': must be one of best; the nearest is best"),
        ("optimizer.lr=abc", "optimizer.lr = 'abc': must be a number"),
        ("optimizer.lr=-1", "optimizer.lr = -1.0: must be a number above 0"),
        ("seed=???", "seed: has to be given: a whole number"),
        ("prior._target_=os.system", "prior._target_ = 'os.system': must be one of"),
        ("seed=1,2", "seed = 1,2: must be one value, or a sweep with the flag -m; for one list write seed=[1,2]"),
        ("seed=range(3)", "seed = range(3): must be one value, or a sweep with the flag -m"),
        ("fractions=[1", "'fractions=[1': must be of the form key=value"),
        ("seed", "'seed': must be of the form key=value"),
        ("+seed=1", "+seed=1: seed has a value already, so write it without the +"),
        ("optimizer.nesterov=true", "Could not override 'optimizer.nesterov'. To append to your config use +optimizer"),
        ("~nothing", "~nothing: there is no such key to take away"),
        ("~seed", "seed: has to be given: a whole number"),
        ("++prior=scaled", "++prior=scaled: force-add of config groups is not supported"),
        ("prior@other=scaled", "prior@other=scaled: "),
        ("seed@x=1", "seed@x=1: there is no group 'seed'"),
        ("fractions.7=1", "fractions.7=1: list index out of range"),
        ("seed=${nowhere}", "seed: Interpolation key 'nowhere' not found"),
        ("--config-name other", "seed = 'x': must be a whole number"),
        ("--config-name missing", "Cannot find primary config 'missing'."),
        ("--config-path nowhere", "Primary config directory not found."),
        ("--config-dir nowhere", "--config-dir = 'nowhere': must be a folder that exists"),
        ("hydra/launcher=bsic seed=1", "hydra/launcher = 'bsic': must be one of basic"),
        ("hydra/luncher=basic", "hydra/luncher = 'basic': unknown group; the nearest is hydra/launcher"),
        ("hydra.nothing=1", "hydra.nothing=1: Could not override 'hydra.nothing'."),
        ("-m hydra.job.num=1,2", "hydra.job.num=1,2: Hydra's own settings cannot be swept"),
        ("-m prior=glob(x*)", "prior=glob(x*): must stand for at least one value"),
        ("-m seed=1,x", "seed = 'x': must be a whole number (in 1 of 2 jobs)"),
        ("-m seed=1,x prior=constant,scaled", "seed = 'x': must be a whole number (in 2 of 4 jobs)"),
        ("-m seed=0,1 lr=1", "lr = 1: unknown key; the nearest is optimizer.lr;"),
        ("-m prior=constant,scalde", "prior = 'scalde': must be one of constant, scaled; the nearest is scaled"),
        (
            "-m mode=joint,alternate prior=constant,scaled",
            "prior.scale = 2.0: must be left out with mode=alternate (in 1",
        ),
        ("hydra.mode=MULTIRUN seed=1,x", "seed = 'x': must be a whole number (in 1 of 2 jobs)"),
        ("--config-name sweep", "seed = 'x': must be a whole number (in 1 of 2 jobs)"),
        ("-m optimizer.lr=interval(0.1,1)", "optimizer.lr = interval(0.1,1): must be values, as in 1,2 or range(1,3);"),
    ],
)  # fmt: skip
def test_wrong_command_lines(check: Check, line: str, message: str) -> None:
    lines = check(*line.split())
    assert lines is not None
    assert len(lines) == 1, lines
    assert lines[0].startswith(message)


def test_several_faults_of_several_kinds(check: Check) -> None:
    lines = check("prior=scalde", "prior.scael=1", "+seeed=1", "optimizer.lr=abc", "mode=alternat", "name=[", "~gone")
    assert lines is not None
    starts = ["name = '['", "prior = 'scalde'", "~gone", "seeed = 1", "prior.scael = 1", "optimizer.lr", "mode"]
    assert len(lines) == len(starts)
    assert all(map(str.startswith, lines, starts)), lines
    # the nearest option was taken for granted, so its own keys are the ones suggested
    assert "the nearest is prior.scale;" in lines[4]


def test_config_dir_adds_options(check: Check, tmp_path: Path) -> None:
    assert check("--config-dir", str(tmp_path / "conf/extra"), "prior=wide") is None
    assert check("prior=wide") is not None


def test_syntax_error_in_a_file_is_one_line(check: Check, tmp_path: Path) -> None:
    (tmp_path / "conf/prior/torn.yaml").write_text("sigma: [1\n")
    lines = check("prior=torn")
    assert lines is not None
    assert len(lines) == 1
    assert "torn.yaml" in lines[0]


@pytest.mark.slow
@pytest.mark.usefixtures("check")
def test_huge_sweeps_check_each_value_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwfn.config.preflight.MAX_JOBS", 5)
    preflight(Settings, tmp_path / "conf", "train", ["-m", "seed=1,2,3", "optimizer.lr=1,2"])
    assert "6 jobs: each value was checked once" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        preflight(Settings, tmp_path / "conf", "train", ["-m", "seed=1,2,x", "optimizer.lr=1,-2"])
    err = capsys.readouterr().err
    assert "seed = 'x'" in err
    assert "optimizer.lr = -2.0" in err


def test_torch_is_not_imported() -> None:
    code = "import sys, pwfn.config.build, pwfn.config.preflight; "
    code += "sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
