"""Files stay short enough to read at once, functions to see at once, and folders to know what is in them."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.project import PROJECT

LINES_OF_A_FILE, LINES_OF_A_FUNCTION, MODULES_OF_A_FOLDER = 250, 40, 15
FIRST_LINE = 100  # characters of the first line of a docstring


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (PROJECT / folder).rglob("*.py"))


PACKAGE = files("pwfn")
PROGRAMS = files("pwfn", "hydra_plugins", "benchmarks", "scripts")


def lengths_of_functions(path: Path) -> dict[str, int]:
    """Count the lines of each function, its docstring included and its decorators not."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {f"{path.relative_to(PROJECT)}:{f.name}": (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions}


def test_no_file_is_too_long() -> None:
    everywhere = [*PROGRAMS, *files("tests", "readers"), *PROJECT.glob("*.py")]
    lengths = {
        str(path.relative_to(PROJECT)): len(path.read_text(encoding="utf-8").splitlines()) for path in everywhere
    }
    assert {name: lines for name, lines in lengths.items() if lines > LINES_OF_A_FILE} == {}


def test_no_function_is_too_long() -> None:
    lengths = {name: lines for path in PACKAGE for name, lines in lengths_of_functions(path).items()}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_OF_A_FUNCTION} == {}


def test_docstrings_begin_with_a_short_line() -> None:
    long = {}
    for path in PROGRAMS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                if len(first) > FIRST_LINE:
                    long[f"{path.relative_to(PROJECT)}: {first}"] = len(first)
    assert long == {}


def test_no_folder_is_too_full() -> None:
    folders = {path.parent for wing in ("pwfn", "tests") for path in (PROJECT / wing).rglob("*.py")}
    modules = {
        str(folder.relative_to(PROJECT)): len({*folder.glob("*.py")} - {folder / "__init__.py"}) for folder in folders
    }
    assert {name: count for name, count in modules.items() if count > MODULES_OF_A_FOLDER} == {}
