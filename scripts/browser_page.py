"""Make the page of docs/browser with your model: `python scripts/browser_page.py model.pwfn page`.

The folder gets the page, onnxruntime-web (by npm), the packed ONNX model, what its images need, and a test image of
each class with the logits that torch computes. Then `python -m http.server --bind 127.0.0.1 --directory page 8000`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this tree's pwfn

import numpy as np
import torch

import pwfn
from pwfn.artifact.exports.onnx_forms import to_packed_onnx
from pwfn.artifact.header import Codebook
from pwfn.data.datasets.digits import Digits
from pwfn.data.transforms import evaluation_steps
from pwfn.errors import RunError

SOURCES = Path(__file__).resolve().parent.parent / "docs" / "browser"
TIMEOUT = 600  # seconds for npm


def settings(description: dict[str, Any]) -> dict[str, Any]:
    """Return what the page has to know of the images.

    Raises:
        ValueError: where the page cannot make them.
    """
    data = description["data"]
    channels, height, width = data["input_size"]
    wanted = {"channels": channels == 1, "a square": height == width, "bilinear": data["interpolation"] == "bilinear"}
    wanted |= {"at least 8 pixels": height >= 8, "crop_pct=1": data["crop_pct"] == 1.0}
    if missing := [name for name, there in wanted.items() if not there]:
        raise ValueError(f"the page shows gray digits as the default run sees them; this model's are not: {missing}")
    classes = description["class_names"] or [str(number) for number in range(description["model"]["num_classes"])]
    values = len(Codebook.model_validate_json(json.dumps(description["codebook"])).values())
    return {"size": height, "mean": data["mean"][0], "std": data["std"][0], "classes": classes, "values": values}


def samples(model: torch.nn.Module, description: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the first test image of each class: its 8 x 8 pixels, its class, and the logits of torch."""
    test = Digits(batch_size=1).load().test
    steps = evaluation_steps(description["data"])
    found = []
    for label in range(10):
        image, _ = test[int((torch.as_tensor(test.labels) == label).nonzero()[0])]
        with torch.no_grad():
            logits = model(steps(image)[None])[0]
        found.append({"label": label, "pixels": np.asarray(image).ravel().tolist(), "logits": logits.tolist()})
    return found


def make(path: Path, folder: Path) -> str:
    """Fill the folder; returns the line of the export."""
    description, model = pwfn.describe(path), pwfn.load(path).eval()
    about = settings(description)
    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES.iterdir():
        if source.is_file():
            shutil.copy(source, folder)
    line = to_packed_onnx(model, folder / "model.onnx", description)
    (folder / "settings.json").write_text(json.dumps(about))
    (folder / "samples.json").write_text(json.dumps(samples(model, description)))
    return line


def install(folder: Path) -> None:
    """Have npm put onnxruntime-web into the folder, in the version of package.json.

    Raises:
        OSError: without npm.
        subprocess.SubprocessError: where it fails or does not end.
    """
    quiet = [
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--no-package-lock",
        "--loglevel=error",
        "--fetch-retries=1",
    ]
    subprocess.run(["npm", "install", *quiet], cwd=folder, check=True, timeout=TIMEOUT, capture_output=True, text=True)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("model", type=Path, help="model.pwfn of a run on the digits")
    parser.add_argument("folder", type=Path, help="is made, or filled anew")
    given = parser.parse_args()
    try:
        print(make(given.model, given.folder))
        install(given.folder)
    except (RunError, ValueError, OSError) as error:
        sys.exit(f"pwfn: {error}")
    except subprocess.SubprocessError as error:
        sys.exit(f"pwfn: npm: {getattr(error, 'stderr', None) or error}")
    print(f"python -m http.server --bind 127.0.0.1 --directory {given.folder} 8000    then http://127.0.0.1:8000")


if __name__ == "__main__":
    main()
