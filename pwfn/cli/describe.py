"""Run `pwfn describe model.pwfn`: the header of an artifact as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from pwfn.artifact import ArtifactError, describe
from pwfn.config import program
from pwfn.errors import one_line
from pwfn.value_kinds import path_of


def main(arguments: Sequence[str]) -> int:
    """Print the header; returns 0, or 2 where the file cannot be read as an artifact."""
    parser = argparse.ArgumentParser(prog=" ".join(program.typed("describe")), description="What a model.pwfn holds.")
    parser.add_argument("artifact", type=path_of, help="the file model.pwfn")
    given = parser.parse_args(arguments)
    try:
        header = describe(given.artifact)
    except (ArtifactError, OSError) as error:
        print(f"pwfn: {one_line(error, 400)}", file=sys.stderr)
        return 2
    try:
        print(json.dumps(header, indent=1), flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough; Python would try once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
