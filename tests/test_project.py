"""Files that say the same thing in two places agree."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from pwfn.renamed import RENAMED
from tests.support.project import PROJECT

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)(?:>=([0-9.]+))?")


def requirements() -> dict[str, str]:
    """Read the lower bound of every requirement; an extra may ask for more of what is one anyway."""
    project = PYPROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {match[1].lower(): match[2] for line in reversed(lines) if (match := REQUIREMENT.match(line)) and match[2]}


def pins(name: str) -> dict[str, str]:
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))


def version(text: str) -> tuple[int, ...]:
    """Read a version's numbers, without the zeros at its end."""
    numbers = [int(number) for number in text.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def test_upgrading_lists_every_renamed_class() -> None:
    text = (PROJECT / "UPGRADING.md").read_text(encoding="utf-8")
    table = text.partition("### Names of `_target_`")[2]
    assert dict(re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", table, re.M)) == RENAMED


def test_the_version_is_the_same_everywhere() -> None:
    number = PYPROJECT["project"]["version"]
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == number
    changes = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.M)[0] == number


def test_the_oldest_constraints_are_the_lower_bounds() -> None:
    oldest, bounds = pins("constraints-oldest.txt"), requirements()
    assert set(oldest) <= set(bounds)
    assert {name: version(oldest[name]) for name in oldest} == {name: version(bounds[name]) for name in oldest}


def test_every_dependency_is_pinned_in_both_constraints() -> None:
    dependencies = {REQUIREMENT.match(line)[1].lower() for line in PYPROJECT["project"]["dependencies"]}  # type: ignore[index]
    for name in ("constraints.txt", "constraints-oldest.txt"):
        assert dependencies - set(pins(name)) == set()


@pytest.mark.parametrize("path", [".github/workflows/ci.yml", ".pre-commit-config.yaml"])
def test_ci_runs_targets_that_exist(path: str) -> None:
    text = (PROJECT / path).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert isinstance(yaml.safe_load(text), dict)
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) - targets == set()


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_no_test_imports_another_test_or_a_benchmark() -> None:
    of_tests = {
        (str(path.relative_to(PROJECT)), module)
        for path in (PROJECT / "tests").rglob("*.py")
        for module in imported_modules(path)
        if module.split(".")[0] in ("tests", "benchmarks")
    }
    assert of_tests
    assert {(path, module) for path, module in of_tests if not module.startswith("tests.support")} == set()
