"""Run `pwfn describe model.pwfn`: an artifact in a few lines, by tensor, or its header as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from pwfn.artifact import ArtifactError, describe
from pwfn.artifact.summary import layer_lines, summary_lines
from pwfn.config import program
from pwfn.config.wording.pages import see
from pwfn.errors import one_line
from pwfn.value_kinds import path_of


def main(arguments: Sequence[str]) -> int:
    """Print what is asked for; returns 0, or 2 where the file cannot be read as an artifact."""
    typed = " ".join(program.typed("describe"))
    parser = argparse.ArgumentParser(prog=typed, description="What a model.pwfn holds.")
    parser.add_argument("artifact", type=path_of, help="the file model.pwfn")
    parser.add_argument("--layers", action="store_true", help="add a line for each tensor")
    parser.add_argument("--json", "--all", action="store_true", help="print the whole header as JSON instead")
    given = parser.parse_args(arguments)
    try:
        header = describe(given.artifact)
    except (ArtifactError, OSError) as error:
        print(f"pwfn: {one_line(error, 400)}{see('docs/artifact.md')}", file=sys.stderr)
        return 2
    if given.json:
        text = json.dumps(header, indent=1)
    else:
        layers = ["", *layer_lines(header)] if given.layers else []
        text = "\n".join([*summary_lines(header), *layers, "more      --layers: each tensor; --json: everything"])
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough; Python would try once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
