"""Dispatch the command `pwfn train|evaluate|animate|export|describe ...` of the package."""

from __future__ import annotations

import os
import sys

SUBCOMMANDS = {  # name: what it does
    "train": "compress a model; sweeps, searches, resuming",
    "evaluate": "measure a finished run or a model.pwfn; compare runs",
    "animate": "draw a finished run as a film of its weights (GIF)",
    "export": "convert a model.pwfn to ONNX, Core ML or safetensors",
    "describe": "show what a model.pwfn holds",
}
_OWN = "model=timm model.name=<name in timm> model.checkpoint=<file> data=image_folder data.root=<folder>"
EXAMPLES = {  # what one can do: what to type after the name of the command
    "Try it: a whole run in seconds": "train experiment=smoke",
    "Look first: how small a trained model of yours would become": f"train dry_run=true {_OWN}",
    "Compress it without training (experiment=recommended: norms train on)": (
        f"train experiment=post_training {_OWN} budget.bits=2"
    ),
    "Go on with a run that was ended": "train resume=outputs/<date>/<time>",
    "Measure a finished run": "evaluate run=outputs/<date>/<time>",
    "Compare runs on one page": "evaluate report=outputs",
}
HELP = ("-h", "--help", "help")
COMPLETION = ("-sc", "--shell-completion", "--shell_completion")


def main() -> int:
    """Run the subcommand that `sys.argv` names; returns the exit code."""
    words = sys.argv[1:]
    if not words or words[0] in HELP:
        print(overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"pwfn {version('pwfn')}")
        return 0
    if words[0] in COMPLETION:
        return complete(words[1:])
    if words[0] not in SUBCOMMANDS:
        from pwfn.config.wording.messages import also, nearest

        names = ", ".join(SUBCOMMANDS)
        instead = also(nearest(words[0], SUBCOMMANDS))
        print(f"pwfn: {words[0]!r} is no subcommand: must be one of {names}{instead}", file=sys.stderr)
        return 2
    return _run()


def overview() -> str:
    """Return what one can do, with an example each, and the list of subcommands."""
    from pwfn.config import program

    start = " ".join(program.dispatcher())
    lines = ["Compress timm models so that all weights share a tiny codebook.", ""]
    for what, example in EXAMPLES.items():
        lines += [what, f"  {start} {example}"]
    lines += ["", "Subcommands, each with --help", *(f"  {name:<9} {does}" for name, does in SUBCOMMANDS.items())]
    return "\n".join(lines)


def complete(words: list[str]) -> int:
    """Complete a subcommand, or leave it to Hydra, which completes the settings of train and evaluate."""
    line = os.environ.get("COMP_LINE", "").split(" ")
    if any(word.startswith("query=") for word in words):
        if len(line) < 3:
            print(" ".join(SUBCOMMANDS))
            return 0
        if line[1] not in ("train", "evaluate"):
            return 0  # the shell completes names of files by itself
        os.environ["COMP_LINE"] = " ".join([line[0], *line[2:]])
        sys.argv.insert(1, line[1])
    else:
        sys.argv.insert(1, "train")
    return _run()


def _run() -> int:
    from pwfn.config import program, terminal

    terminal.print_any_character()
    subcommand = program.take_subcommand()
    if subcommand == "train":
        from pwfn.cli import train

        train.main()
    elif subcommand == "evaluate":
        from pwfn.cli import evaluate

        evaluate.main()
    elif subcommand == "animate":
        from pwfn.cli import animate

        return animate.main(sys.argv[1:])
    elif subcommand == "export":
        from pwfn import export

        return export.main(sys.argv[1:], " ".join(program.typed("export")))
    else:
        from pwfn.cli import describe

        return describe.main(sys.argv[1:])
    return 0
