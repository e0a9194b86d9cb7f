"""The generated reference has every key of conf/, with the value, the type and the range that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pwfn.records.rounds import CLUSTER_COLUMNS, COLUMNS
from pwfn.training.signals import NAMES
from scripts.reference import records, settings
from scripts.reference.markdown import cell, code
from scripts.reference.units import UNITS
from scripts.reference.yaml_comments import Key, heading, keys_of
from tests.support.project import CONF, PROJECT

ENVIRONMENT = (PROJECT / "docs/environment.md").read_text()
VARIABLE = re.compile(r"\"((?:PWFN|WANDB|MLFLOW|TRACKIO|HF)_[A-Z_]+)\"")
BETWEEN_PROCESSES = {"PWFN_SWEEP", "PWFN_SWEEP_PARENT"}  # a sweep tells them its jobs


@pytest.fixture(scope="module")
def page() -> str:
    return settings.page()


def row(page: str, key: str) -> list[str]:
    """The cells of the key's first row: default, unit, meaning, type, allowed."""
    line = next(line for line in page.splitlines() if line.startswith(f"| `{key}` |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")][1:]


def test_comments_are_read_beside_above_and_below_a_value(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("# The base.\n_target_: x.Y\nrate: 1.0  # of growth\nkept: a  # stays\n")
    option = tmp_path / "option.yaml"
    option.write_text(
        "# @package _global_\n# An option\n# of two lines.\ndefaults:\n  - base\n  - _self_\nrate: 2.0\n"
        "inner:  # a section\n  # above\n  list: [1, 2]\n  text: '# not a comment'  # beside,\n"
        "                           # and below\n"
    )
    assert heading(option) == "An option of two lines."
    assert list(keys_of(option).values()) == [
        Key("rate", "2.0", "of growth"),
        Key("kept", "a", "stays"),
        Key("inner.list", "[1, 2]", "above"),
        Key("inner.text", "'# not a comment'", "beside, and below"),
    ]


@pytest.mark.slow
def test_every_key_of_every_option_has_a_row_with_a_meaning(page: str) -> None:
    for path in sorted(CONF.rglob("*.yaml")):
        group = str(path.parent.relative_to(CONF)).replace("/", ".")
        if group.startswith(("hydra", "experiment", "sweep")) or path.name == "wandb_sweep.yaml":
            continue
        for key in keys_of(path).values():
            dotted = key.path if group == "." else f"{group}.{key.path}"
            assert f"| `{dotted}` |" in page, (path, dotted)
            assert key.meaning, (path, dotted)


@pytest.mark.slow
def test_options_are_listed_with_the_default_of_train_yaml(page: str) -> None:
    defaults = yaml.safe_load((CONF / "train.yaml").read_text())["defaults"]
    for entry in defaults:
        for group, option in entry.items() if isinstance(entry, dict) else ():
            if (CONF / group).is_dir() and option is not None:
                assert f"| `{option}` (default) |" in page.partition(f"## `{group}`")[2].partition("\n## ")[0]
    for experiment in (CONF / "experiment").glob("*.yaml"):
        assert f"| `{experiment.stem}` |" in page


@pytest.mark.slow
def test_rows_say_type_and_range_as_the_classes_do(page: str) -> None:
    default, unit, _, kind, allowed = row(page, "clustering.inc")
    assert (unit, kind, allowed) == ("", "a number", "a number above 1")
    assert default == "`2.0` (greedy, greedy_bits)"
    assert row(page, "seed")[3:] == ["a whole number", "an integer from 0 to 4294967295"]
    assert row(page, "trainer.precision")[3].startswith("one of 32-true")
    assert row(page, "artifact.sigma")[::3] == ["`false`", "true or false"]
    assert row(page, "bins")[4] != ""  # of an evaluation
    assert row(page, "kernels")[4].startswith("one of auto, triton&#95;cuda, numba&#95;cpu, reference")
    assert row(page, "pretrain.optimizer.lr")[4] == "a number above 0"  # whichever optimizer it is


@pytest.mark.slow
def test_every_number_has_its_unit_or_none(page: str) -> None:
    numbers = {
        cells[0].strip(" |`")
        for line in page.splitlines()
        if (cells := line.split(" | "))[0].startswith("| `") and len(cells) == 6
        if re.search(r"\bnumbers?\b(?! is)", cells[4])
    }
    assert len(numbers) > 100
    assert numbers - UNITS.keys() == set()
    assert {key for key in UNITS if f"| `{key}` |" not in page} == set()
    assert row(page, "checkpoint.every_minutes")[1] == "minutes"
    assert row(page, "prior.sigma")[1] == "units of the weights"


def test_columns_are_those_of_the_records() -> None:
    page = records.page()
    for column in (*COLUMNS.values(), *CLUSTER_COLUMNS.values()):
        assert f"| {code(column.key)} |" in page
        assert cell(column.meaning) in page


def test_cells_hold_what_would_end_them() -> None:
    assert cell("a | b\n<c> [d]") == "a &#124; b &#60;c> &#91;d&#93;"
    assert code("a|b") == "`a\\|b`"


def test_exit_codes_are_those_of_the_signals() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", ENVIRONMENT, re.M)}
    assert codes == {0, 1, 2} | {128 + number for number in NAMES}


def test_every_variable_that_is_read_is_described() -> None:
    read = {name for path in (PROJECT / "pwfn").rglob("*.py") for name in VARIABLE.findall(path.read_text())}
    assert len(read) > 15
    described = set(re.findall(r"^\| `([A-Z_]+)` \|", ENVIRONMENT, re.M))
    assert read - BETWEEN_PROCESSES - described == set()
