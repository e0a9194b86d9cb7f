"""Every command that a document shows passes all checks, and says what it needs that not everyone has."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from pwfn import export
from pwfn.cli import again, animate, describe
from pwfn.cli.evaluate import refuse_lone_keys_of_data
from pwfn.config import resolvers
from pwfn.config.preflight import preflight
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.report import animation
from pwfn.run.settings import TrainSettings
from tests.support.documents import Shown, shown_commands
from tests.support.project import CONF, PROJECT, RECORDED

FINISHED = RECORDED / "version_0_1/finished"
COMMANDS = [
    pytest.param(command, id=f"{document.stem}:{command.line} {' '.join(command.words)[:70]}")
    for document in sorted((PROJECT / "docs").glob("*.md"))
    for command in shown_commands(document)
]
NEEDS = {  # what a command needs: the words that show it
    "GPU": r"trainer=(ddp|gpu|multi_node)\b|benchmarks/gpu\.py",
    "SLURM": r"\bsrun\b|hydra/launcher=(submitit_)?slurm",
    "account": r"wandb (sweep|agent)|wandb_workspace\.py --project|WANDB_MODE=online",
    "network": r"data\.download=true|data\.name=(hfds|hfids)/",
}


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reader who has everything that the documents speak of; they have eight GPUs, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)  # settings only: no device is touched
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    monkeypatch.setattr(animation, "write_animation", lambda *_: 1)
    monkeypatch.setattr(export, "export", lambda *_, **__: "")
    for name in ("weights.safetensors", "split.csv"):
        (tmp_path / name).touch()
    shutil.copy(FINISHED / "model.pwfn", tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "test_resnet"}')
    (own := tmp_path / "own/experiment").mkdir(parents=True)
    page = (PROJECT / "docs/cli.md").read_text()
    example = re.search(r"^```yaml\n# own/experiment/mine.yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert example is not None
    (own / "mine.yaml").write_text(example[1])
    resolvers.register()
    return tmp_path


def with_own_files(words: Sequence[str], folder: Path) -> list[str]:
    """Let files and folders that are there stand for the reader's own."""
    own = {
        "data.root": str(folder),
        "data_root": str(folder),
        "data.split": str(folder / "split.csv"),
        "model.checkpoint": str(folder / "weights.safetensors"),
        "model.name": f"'local-dir:{folder}'",
        "hydra.run.dir": str(folder / "run"),
        "run": str(FINISHED),
        "artifact": str(FINISHED / "model.pwfn"),
        "report": str(FINISHED),
    }

    def mine(word: str) -> str:
        key, _, value = word.partition("=")
        if (key == "data.split" and value.startswith("[")) or (key == "model.name" and "local-dir:" not in value):
            return word
        return f"{key}={own[key]}" if key in own else word.replace("$seed", "0")

    return [mine(word) for word in words]


def check_train(words: list[str], folder: Path) -> None:
    """A run that goes on has its settings from its folder, and takes words beside it as any other."""
    words = [word for word in with_own_files(words, folder) if not re.match(r"resume(_sweep)?=(?!auto)", word)]
    again.refuse_without_folder(words)
    preflight(TrainSettings, CONF, "train", words)


def check_evaluate(words: list[str], folder: Path) -> None:
    words = with_own_files(words, folder)
    refuse_lone_keys_of_data(words)
    preflight(EvaluateSettings, CONF, "evaluate", words)


def check_export(words: list[str], folder: Path) -> None:
    assert export.main([str(FINISHED / "model.pwfn"), *words[1:]]) == 0


def check_animate(words: list[str], folder: Path) -> None:
    assert animate.main([f"run={FINISHED}", *words[1:]]) == 0


def check_describe(words: list[str], folder: Path) -> None:
    assert describe.main([str(FINISHED / "model.pwfn"), *words[1:]]) == 0


CHECKS: dict[str, Callable[[list[str], Path], None]] = {
    "train": check_train,
    "evaluate": check_evaluate,
    "export": check_export,
    "animate": check_animate,
    "describe": check_describe,
}


def check(words: list[str], folder: Path) -> None:
    while re.match(r"[A-Z_]+=", words[0]) or words[0] in ("srun", "export"):  # variables and what starts the program
        words = words[1:]
        if not words:
            return
    program, rest = words[0], words[1:]
    if program == "torchrun":
        rest = rest[next(index for index, word in enumerate(rest) if not word.startswith("--")) :]
    if rest[:2] in (["-m", "pwfn"], ["-m", "pwfn.export"]):
        program, rest = "pwfn", rest[2:] if rest[1] == "pwfn" else ["export", *rest[2:]]
    if program == "pwfn":
        assert not rest or rest[0] in CHECKS
        return CHECKS[rest[0]](rest[1:], folder) if rest else None
    if program in ("python", "torchrun") and rest[0] in ("train.py", "evaluate.py"):
        return CHECKS[rest[0].removesuffix(".py")](rest[1:], folder)
    return check_other(program, rest)


def check_other(program: str, words: list[str]) -> None:
    """Commands of other programs: the files, options, targets and extras that they name are there."""
    if program == "python" and words[0] == "-c":
        compile(words[1], "shown", "exec")
    elif program == "python" and words[0] == "-m":
        assert find_spec(words[1]) is not None
    elif program == "python":
        source = (PROJECT / words[0]).read_text()
        assert [word for word in words if word.startswith("--") and f'"{word}"' not in source] == []
    elif program == "make":
        assert re.search(rf"^{words[0]}:", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    elif program == "pip":
        extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = re.findall(r"\[([\w,-]+)\]", " ".join(words))
        assert {extra for group in named for extra in group.split(",")} <= extras.keys()
    elif program == "wandb":
        assert all((PROJECT / word).is_file() for word in words if word.endswith(".yaml"))
    else:
        assert program == "eval", f"no check knows {program}"


def test_no_document_is_forgotten() -> None:
    assert len(COMMANDS) > 90
    commands = [one.values[0] for one in COMMANDS]
    assert {one.words[0] for one in commands if isinstance(one, Shown)} >= {"python", "pwfn", "make", "pip", "torchrun"}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_passes_every_check(command: Shown, reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(command.words, reader)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_what_it_needs(command: Shown) -> None:
    missing = [
        what
        for what, sign in NEEDS.items()
        if re.search(sign, command.text) and not re.search(rf"\bneeds [^;]*{what}", command.comments)
    ]
    assert missing == []


@pytest.mark.parametrize(
    "wrong",
    [
        "python train.py optimizer.lrr=1",
        "pwfn train experimnt=smoke",
        "python -m pwfn evaluate run=x sample=3",
        "pwfn describ model.pwfn",
        "pwfn export model.pwfn --too onnx",
        "torchrun --nnodes=2 train.py seeed=1",
        "python benchmarks/gpu.py --nothing",
        "make nothing",
        "pip install 'pwfn[nothing]'",
    ],
)
def test_a_wrong_one_would_not_pass(wrong: str, reader: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Text.\n```\n{wrong}\n```\n")
    (command,) = shown_commands(page)
    with pytest.raises((AssertionError, SystemExit, StopIteration)):
        check(command.words, reader)
