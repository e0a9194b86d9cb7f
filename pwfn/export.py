"""Convert an artifact to forms that other tools read: `python -m pwfn.export model.pwfn --to onnx`.

`safetensors` is a state dict for timm and torch, `onnx` runs in ONNX Runtime, `coreml` is a Core ML package whose
weights stay palettized: a look-up table and indices for each tensor. Every file is read again and compared.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pwfn.artifact import ArtifactError, describe, load
from pwfn.artifact.exports.coreml import to_coreml
from pwfn.artifact.exports.exported import ExportError, metadata, same_bits
from pwfn.artifact.exports.onnx_forms import to_onnx, to_packed_onnx
from pwfn.artifact.exports.safetensors_packed import to_packed_safetensors
from pwfn.artifact.header import Recipe
from pwfn.artifact.parts import take_apart
from pwfn.artifact.per_tensor_limit import limit_model
from pwfn.artifact.write import write
from pwfn.config.wording.pages import see
from pwfn.errors import one_line
from pwfn.records.files import replacing
from pwfn.value_kinds import path_of


def to_safetensors(model: nn.Module, path: Path, description: dict[str, Any]) -> str:
    """Write the state dict; tied tensors stand under each of their names, as `load_state_dict` wants them.

    Args:
        model: the network, on the CPU and in evaluation mode.
        path: the file to write.
        description: of the artifact, as `pwfn.describe` returns it.

    Returns:
        A clause on what was written and how it was checked.

    Raises:
        ExportError: a tensor came back changed.
    """
    from safetensors.torch import load_file, save_file

    state = {key: value.detach().contiguous().clone() for key, value in model.state_dict().items()}
    save_file(state, path, metadata={"format": "pt", **metadata(description)})
    again = load_file(path)
    wrong = [key for key in state if not same_bits(state[key], again[key])]
    if wrong or again.keys() != state.keys():
        raise ExportError(f"{len(wrong)} of {len(state)} tensors came back changed")
    return f"{len(state)} tensors, read again without a bit of difference"


def to_pwfn(model: nn.Module, path: Path, description: dict[str, Any]) -> str:
    """Write an artifact again, for a network that was changed on the way.

    Args:
        model: the network, on the CPU and in evaluation mode.
        path: the file to write.
        description: of the artifact, as `pwfn.describe` returns it.

    Returns:
        A clause on what was written and how it was checked.

    Raises:
        ExportError: a tensor came back changed.
    """
    recipe = Recipe.model_validate(description["model"])
    coded = {name for one in description["coded"] for name in one["names"]}
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    parts = take_apart(model, include=tuple(coded), exclude=tuple(parameters - coded))
    about = {key: description[key] for key in ("data", "class_names", "config")}
    receipt = write(path, parts, recipe, about, plain=description["plain_form"] or "exact")
    again, state = load(path).state_dict(), model.state_dict()
    wrong = [key for key in state if not same_bits(state[key], again[key])]
    if wrong:
        raise ExportError(f"{len(wrong)} of {len(state)} tensors came back changed")
    shared = f"{receipt.codebook} values, entropy {receipt.entropy_bits:.3f} bits per weight"
    return f"{shared}, read again without a bit of difference"


@dataclass(frozen=True)
class Form:
    """Describe a form that an artifact can be written in.

    Attributes:
        write: writes a model into a path, given the artifact's description, and returns a clause on the result.
        suffix: the ending of its name.
        packages: what has to be installed.
        is_folder: whether it is a folder.
        write_packed: writes the weights as indices into the codebook; None where the form has no such layout.
    """

    write: Callable[[nn.Module, Path, dict[str, Any]], str]
    suffix: str
    packages: tuple[str, ...] = ()
    is_folder: bool = False
    write_packed: Callable[[nn.Module, Path, dict[str, Any]], str] | None = None


FORMS = {
    "pwfn": Form(to_pwfn, ".pwfn"),
    "safetensors": Form(to_safetensors, ".safetensors", write_packed=to_packed_safetensors),
    "onnx": Form(to_onnx, ".onnx", ("onnx", "onnxscript", "onnxruntime"), write_packed=to_packed_onnx),
    "coreml": Form(to_coreml, ".mlpackage", ("coremltools",), is_folder=True),
}


def export(
    artifact: Path, form: str, path: Path | None = None, *, packed: bool = False, per_tensor_max: int | None = None
) -> str:
    """Write an artifact in another form, whole or not at all.

    Args:
        artifact: the file `model.pwfn`.
        form: a key of `FORMS`.
        path: the file or folder to write, by default beside the artifact with the form's ending. What is there is
            replaced once the new one was read again and found right.
        packed: keep the weights as indices into the codebook (onnx, safetensors).
        per_tensor_max: let each tensor keep only so many of the shared values, 1 or more: those of least squared error.

    Returns:
        A line about the result: path, size, and how it was compared with the model.

    Raises:
        ArtifactError: the artifact cannot be read.
        ExportError: a package is missing, the path does not suit the form, or the form does not take this model.
        OSError: the file cannot be written.
    """
    write = _writer(form, packed)
    description, path = _checked(artifact, form, path)
    model, moved = load(artifact), ""
    if per_tensor_max is not None:
        count = limit_model(model, [one["names"][0] for one in description["coded"]], per_tensor_max)
        moved = f"; {count:,} of {description['weights']:,} weights moved for at most {per_tensor_max} values a tensor"
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of converters about themselves
            with (_replacing_folder if FORMS[form].is_folder else replacing)(path) as unfinished:
                outcome = write(model, unfinished, description)
    except (ExportError, OSError):
        raise
    except Exception as error:  # a converter may raise anything for a model that it does not know
        raise ExportError(f"{form} does not take this model: {type(error).__name__}: {one_line(error)}") from error
    size = sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
    return f"{path}: {size / 1e6:.3f} MB; {outcome}{moved}"


def _writer(form: str, packed: bool) -> Callable[[nn.Module, Path, dict[str, Any]], str]:
    write = FORMS[form].write_packed if packed else FORMS[form].write
    if write is None:
        packable = [name for name, one in FORMS.items() if one.write_packed is not None]
        raise ExportError(f"packed is a choice of {' and '.join(packable)}, not of {form}")
    return write


def _checked(artifact: Path, form: str, path: Path | None) -> tuple[dict[str, Any], Path]:
    """Return the description and the path to write, after everything that can be refused early."""
    missing = [package for package in FORMS[form].packages if find_spec(package) is None]
    if missing:
        raise ExportError(f"{form} needs {', '.join(missing)}: pip install 'pwfn[{form}]'")
    description = describe(artifact)
    if description["model"] is None or description["data"] is None:
        raise ExportError(f"{artifact} does not say how to build its model, or for which images")
    path = path or artifact.with_suffix(FORMS[form].suffix)
    if path.resolve() == artifact.resolve():
        raise ExportError(f"{path} is the artifact itself: give another file to write, with --out")
    if path.suffix != FORMS[form].suffix:
        raise ExportError(f"{path}: the name of this form ends with {FORMS[form].suffix}")
    if not path.parent.is_dir():
        raise ExportError(f"{path}: there is no folder {path.parent}")
    return description, path


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """Do for a folder what `replacing` does for a file; an older one is removed just before the rename."""
    unfinished = path.with_name(f".unfinished.{path.name}")  # coremltools goes by the ending
    try:
        yield unfinished
        if path.is_dir():
            shutil.rmtree(path)
        unfinished.rename(path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)


def main(arguments: Sequence[str] | None = None, program: str = "python -m pwfn.export") -> int:
    """Run the command line; return 0 if the file was written, 2 if not, with one line on why."""
    parser = argparse.ArgumentParser(prog=program, description="A model.pwfn for other tools.")
    parser.add_argument("artifact", type=path_of, help="the file model.pwfn")
    parser.add_argument("--to", choices=FORMS, required=True, help="the form")
    parser.add_argument("--packed", action="store_true", help="onnx, safetensors: keep indices into the codebook")
    parser.add_argument("--per-tensor-max", type=int, choices=(256, 16, 4), help="values that one tensor may keep")
    parser.add_argument("--out", type=path_of, help="the file; default: the artifact's name with another ending")
    given = parser.parse_args(arguments)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        print(export(given.artifact, given.to, given.out, packed=given.packed, per_tensor_max=given.per_tensor_max))
    except (ArtifactError, ExportError, OSError) as error:
        print(f"pwfn: {one_line(error, 400)}{see('docs/runtimes.md')}", file=sys.stderr)
        return 2
    finally:
        logging.disable(before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
