"""`--help` shows what one can do, at once and with commands that hold, instead of the resolved configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from pwfn.cli.main import EXAMPLES
from pwfn.config import resolvers
from pwfn.config.preflight import preflight
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.run.settings import TrainSettings
from tests.support.images.data import write_folder
from tests.support.project import CONF, PROJECT, run_code


def help_of(name: str, *words: str) -> str:
    code = f"import sys; sys.argv[1:] = {[*words, '--help']}; from pwfn.cli.{name} import main; main()\n"
    code += "sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    done = run_code(code)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("name", "words"), [("train", ()), ("train", ("resume=nowhere",)), ("evaluate", ())])
def test_help_is_there_without_torch_and_names_documents_that_there_are(name: str, words: tuple[str, ...]) -> None:
    said = help_of(name, *words)
    assert f"\n  python {name}.py " in said
    assert "_target_" not in said
    assert len(said.splitlines()) < 50
    documents = re.findall(r"docs/\w+\.md", said)
    assert documents
    assert [page for page in documents if not (PROJECT / page).is_file()] == []
    assert ("\nmodel: deit_small" in said) == (name == "train")  # a group that only train.py takes


def given(line: str, folder: Path) -> list[str]:
    """The overrides of an example, with something that is there in the place of <...>."""
    for gap, value in {"<name>": "test_resnet", "<name in timm>": "test_resnet", "<date>/<time>": "x"}.items():
        line = line.replace(gap, value)
    line = line.replace("<file>", str(folder / "weights.safetensors")).replace("<folder>", str(folder))
    return [word.replace("model.pwfn", str(folder / "model.pwfn")) for word in line.split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, a file of weights, and something that is called model.pwfn."""
    made = tmp_path_factory.mktemp("given")
    write_folder(made)
    save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), str(made / "weights.safetensors"))
    (made / "model.pwfn").touch()
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_the_commands_of_a_help_pass_every_check(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolvers.register()
    monkeypatch.chdir(folder)
    lines = re.findall(rf"\$\{{typed:{name}\}} (.*)", (CONF / f"hydra/help/{name}.yaml").read_text())
    assert len(lines) >= 3
    for line in lines:
        if "resume" not in line:
            schema = TrainSettings if name == "train" else EvaluateSettings
            preflight(schema, CONF, name, given(line, folder))


@pytest.mark.parametrize("example", EXAMPLES.values())
def test_the_examples_pass_every_check(example: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolvers.register()
    monkeypatch.chdir(folder)
    subcommand, *words = given(example, folder)
    if "resume" not in example:
        preflight(TrainSettings if subcommand == "train" else EvaluateSettings, CONF, subcommand, words)
