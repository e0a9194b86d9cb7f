"""Paths and texts on a command line: whatever Hydra's grammar refuses, the line shows a form that works."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from pwfn.config import build, resolvers
from pwfn.config.key_hints import KeyHints
from pwfn.config.preflight import preflight
from pwfn.config.wording.quoting import as_typed, quoted
from pwfn.config.wording.text_values import with_homes, words_together
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.run.settings import TrainSettings
from pwfn.value_kinds import FilePath, FreeText, NameOrPath, placed
from tests.support.project import CONF, Compose

KEYS = [
    "data.root",
    "data.class_order",
    "model.name",
    "model.checkpoint",
    "logger.notes",
    "logger.save_dir",
    "name",
    "hydra.run.dir",
]
SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)
Faults = Callable[..., list[str]]


def read(word: str) -> tuple[str, object]:
    """Key and value of an override, as a run is configured by it."""
    (override,) = OverridesParser.create().parse_overrides([word])
    return override.key_or_group, OmegaConf.create({"at": override.value()}).at


def typed_words(line: str) -> list[str]:
    """The words that a shell makes of what a line says is to be typed; that is the end of the line."""
    return shlex.split(line[line.index(": ", line.index(": must") + 1) + 2 :])


@pytest.fixture
def faults(capsys: pytest.CaptureFixture[str]) -> Faults:
    resolvers.register()

    def check(*argv: str, name: str = "train") -> list[str]:
        schema = TrainSettings if name == "train" else EvaluateSettings
        with pytest.raises(SystemExit):
            preflight(schema, CONF, name, list(argv))
        return [line.strip() for line in capsys.readouterr().err.splitlines()[1:]]

    return check


@SETTINGS
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_text_has_a_form_that_a_shell_and_hydra_read_back(text: str) -> None:
    (word,) = shlex.split(as_typed("data.root", text))
    assert read(word) == ("data.root", text)
    assert read(f"name={quoted(text)}") == ("name", text)


@SETTINGS
@given(st.lists(st.text("ab,'\"$`{}[]()=\\ é"), min_size=2))
def test_several_texts_are_a_sweep(texts: list[str]) -> None:
    (word,) = shlex.split(as_typed("name", *texts))
    (override,) = OverridesParser.create().parse_overrides([word])
    values = [OverridesParser.create().parse_overrides([f"x={one}"])[0] for one in override.sweep_string_iterator()]
    assert [OmegaConf.create({"x": one.value()}).x for one in values] == texts


@pytest.mark.slow
@pytest.mark.parametrize("text", ["/x/a=b", "set (1)", "图片", "it's", "x[1]", 'it\'s "$5"!', "~x y"])
def test_the_line_shows_the_form_that_works(faults: Faults, text: str) -> None:
    lines = faults("data=image_folder", *(f"{key}={text}" for key in KEYS))
    for key, line in zip(KEYS, lines, strict=False):  # what follows is about the values themselves
        assert line.startswith(f"{key} = {text!r}: must be in quotes, with these characters: ")
        (word,) = typed_words(line)
        assert read(word) == (key, text)


@pytest.mark.slow
def test_commas_make_two_values_of_a_text(faults: Faults) -> None:
    for text, one, several in (
        ("first try, lr small", '"first try, lr small"', '"first try","lr small"'),
        ("~x/a=b, ~y", '"~x/a=b, ~y"', '"~x/a=b","~y"'),  # which Hydra's grammar refuses
    ):
        for flags in ([], ["-m"]):
            (line,) = faults(*flags, f"logger.notes={text}")
            assert line == (
                f"logger.notes = {text}: must be in quotes as one text: 'logger.notes={one}', "
                f"or in quotes each to sweep over 2 values (-m): 'logger.notes={several}'"
            )


@pytest.mark.slow
@pytest.mark.parametrize("key", ["data.root", "name", "model.checkpoint"])
def test_a_sweep_over_texts_and_paths_wants_quotes(faults: Faults, key: str) -> None:
    lines = faults("-m", "data=image_folder", f"{key}=a,b")
    assert lines[0].endswith(f'or in quotes each to sweep over 2 values (-m): \'{key}="a","b"\'')
    assert not any("must be in quotes" in line for line in faults("-m", "seed=-1", f'{key}="a","b"'))


def test_texts_in_quotes_are_a_sweep(faults: Faults) -> None:
    for value in ('"a","b"', "'a','b'"):
        (line,) = faults(f"name={value}")
        assert line == f"name = {value}: must be one value, or a sweep with the flag -m"


def test_names_are_swept_without_quotes(faults: Faults) -> None:
    (line,) = faults("-m", "model=timm", "model.name=resnet18,resnet34", "data.class_order=natural", "seed=-1")[:1]
    assert not line.startswith("model.name")


def test_a_text_that_the_shell_has_split(faults: Faults) -> None:
    (line,) = faults("logger.notes=first", "try,", "lr", "small", "seed=1")
    assert line.startswith("'try, lr small': must be of the form key=value, or in quotes with the value before it: ")
    assert read(*typed_words(line)) == ("logger.notes", "first try, lr small")


def test_a_list_that_the_shell_has_split(faults: Faults) -> None:
    (line,) = faults("data/augment=timm", "data.augment.scale=[0.6,", "1]")
    assert typed_words(line) == ["data.augment.scale=[0.6, 1]"]


def test_words_after_an_override_belong_to_it() -> None:
    words = ["a", "b=1", "c", "d]", "e.f=g=h", "~i", "+j=", "k"]
    assert words_together(words) == [["a"], ["b=1", "c", "d]"], ["e.f=g=h"], ["~i"], ["+j=", "k"]]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["123", "1e5", "true", "[a]", "{a:1}"])
def test_a_text_that_looks_like_something_else(faults: Faults, text: str) -> None:
    (line,) = faults(f"name={text}")
    assert line.startswith(f"name = {text}: must be a text")
    assert read(*typed_words(line)) == ("name", text)


def test_a_list_of_paths(faults: Faults) -> None:
    (line,) = faults("noise.draws=5", "run=x", "compare=[/x/a=b, it's]", name="evaluate")
    (word,) = shlex.split(line.partition("characters: ")[2])
    assert read(word) == ("compare", ["/x/a=b", "it's"])


def test_a_key_that_nobody_knows_may_be_a_text(faults: Faults) -> None:
    (line,) = faults("model.args.act_layer=it's")
    assert line.endswith('; a text is written "model.args.act_layer=\\"it\'s\\""')


@pytest.mark.parametrize("key", ["corruptions", "noise", "codebook", "prune_codebook"])
def test_an_analysis_that_is_switched_on_as_a_whole_says_what_it_wants(faults: Faults, key: str) -> None:
    (line,) = faults(f"{key}=true", "run=x", name="evaluate")
    assert line.startswith(f"{key} = True: must be ")
    (word,) = shlex.split(line.split(" ")[-1])
    wanted = next(field.type for field in fields(EvaluateSettings) if field.name == key)
    assert word == getattr(__import__("pwfn.evaluation.settings", fromlist=["x"]), str(wanted)).switched_on_by


def test_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    hints = KeyHints(TrainSettings)
    given = {
        "data.root=~/x": "data.root='/home/me/x'",
        "data.root=~": "data.root='/home/me'",
        '+data.root="~/set (1)"': "+data.root='/home/me/set (1)'",
        "hydra.run.dir=~/x": "hydra.run.dir='/home/me/x'",
        "data.root=~/x,~/y": "data.root=~/x,~/y",
        "name=~/x": "name=~/x",
        "resume=~/it's": "resume=/home/me/it's",
        'resume="~/set (1)"': "resume=/home/me/set (1)",
        "resume=/x/a=b": "resume=/x/a=b",
        "--config-dir=~/own": "--config-dir=/home/me/own",
        "~seed": "~seed",
    }
    assert with_homes(list(given), hints, also=("resume",)) == list(given.values())
    assert with_homes(["-cd", "~/own", "~name"], hints) == ["-cd", "/home/me/own", "~name"]


def test_paths_of_a_configuration_begin_at_home(
    composed: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "order.txt").write_text("a\n")
    cfg = composed("data=image_folder", 'data.root="~/x"', 'data.class_order="~/order.txt"', 'name="~"')
    found = build.load(TrainSettings, cfg)
    assert (found.data.root, found.data.class_order) == (f"{tmp_path}/x", f"{tmp_path}/order.txt")  # type: ignore[attr-defined]
    assert found.name == "~"


def test_relative_paths_are_seen_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "natural").touch()
    here = str(tmp_path)
    assert placed("x", FilePath | None, here) == f"{here}/x"
    assert placed(("x", "/y"), FilePath | tuple[FilePath, ...], here) == (f"{here}/x", "/y")
    assert placed([0.5, 0.5], tuple[float, float] | FilePath, here) == [0.5, 0.5]
    assert placed("sorted", NameOrPath, here) == "sorted"
    assert placed("natural", NameOrPath, here) == f"{here}/natural"
    assert placed("local-dir:x", NameOrPath, here) == f"local-dir:{here}/x"
    assert placed("https://x/y.tar", FilePath, here) == "https://x/y.tar"
    assert placed("~/x", FreeText, here) == "~/x"
    assert placed("~nobody-of-this-name", FilePath) == "~nobody-of-this-name"
