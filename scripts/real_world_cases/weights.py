"""Make weights that users bring: files of every kind, folders, names, and sizes of images."""

from __future__ import annotations

import argparse
import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor

from real_world_cases import Case, Done

NAME = "test_resnet"
TINY = (
    "experiment=smoke", "report=false", "data.train_size=64", "data.test_size=60",
    "schedule=one_shot", "schedule.fractions=[1.0]",
)  # fmt: skip
State = dict[str, Tensor]


def state_of(seed: int = 1, classes: int = 10, name: str = NAME, **options: Any) -> State:
    """Return weights that no other seed gives."""
    torch.manual_seed(seed)
    return dict(timm.create_model(name, num_classes=classes, in_chans=1, **options).state_dict())


def prefixed(prefix: str, state: State) -> State:
    """Put something in front of every name."""
    return {prefix + name: value for name, value in state.items()}


def exact(done: Done, state: State) -> str:
    """Check that a run compressed exactly these weights."""
    assert done.code == 0, done.line("pwfn")
    found = load_file(done.run / "pretrained.safetensors")
    assert found.keys() == state.keys(), "other names"
    wrong = [name for name, value in state.items() if not torch.equal(found[name].float(), value.float())]
    assert not wrong, f"other values in {wrong[0]}"
    return "exactly these weights were compressed"


def loads(name: str, content: Callable[[], Any], file: str = "mine.pth", words: str = "", *more: str) -> Case:
    """Make the case of a file whose weights are those of `state_of()`."""

    def arguments(folder: Path) -> Sequence[str]:
        write = save_file if file.endswith((".safetensors", ".bin")) else torch.save
        write(content(), folder / file)
        return [*TINY, f"model.checkpoint={folder / file}", *more]

    def outcome(done: Done) -> str:
        verdict = exact(done, state_of())
        return f"{verdict}; {done.line(words)}" if words else verdict

    return Case(name, arguments, outcome)


def refused(name: str, content: Callable[[], Any], words: str, file: str = "mine.pth", *more: str) -> Case:
    """Make the case of a file that is refused in one line, before anything trains."""

    def arguments(folder: Path) -> Sequence[str]:
        write = save_file if file.endswith(".safetensors") else torch.save
        write(content(), folder / file)
        return ["inspect=true", *TINY, f"model.checkpoint={folder / file}", *more]

    return Case(name, arguments, lambda done: done.refused(words))


def of_timm() -> dict[str, Any]:
    """Return what timm's train.py saves."""
    return {"epoch": 3, "arch": NAME, "state_dict": state_of(), "args": argparse.Namespace(lr=0.1), "metric": 87.5}


def lightning(value: Any) -> dict[str, Any]:
    """Return what Lightning saves of a module with a hyperparameter."""
    return {"state_dict": prefixed("net.", state_of()), "hyper_parameters": {"optimizer": value}}


def facebook(state: State) -> State:
    """Return the names of ConvNeXt's first release."""
    out = {}
    for name, value in state.items():
        own = name.replace("stem.", "downsample_layers.0.").replace(".blocks.", ".")
        own = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", own)
        own = own.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        out[own.replace("head.fc.", "head.").replace("head.norm.", "norm.")] = value
    return out


def other_layout(folder: Path) -> Sequence[str]:
    """Write a ConvNeXt in the layout of its first release."""
    torch.save({"model": facebook(state_of(name="test_convnext"))}, folder / "facebook.pth")
    return [*TINY, "model=timm", "model.name=test_convnext", f"model.checkpoint={folder / 'facebook.pth'}"]


def local_folder(folder: Path) -> Sequence[str]:
    """Write a folder as timm's save_for_hf does."""
    save_file(state_of(), folder / "model.safetensors")
    own = {"num_classes": 10, "input_size": [1, 32, 32], "mean": [0.1], "std": [0.3], "classifier": "fc"}
    own |= {"first_conv": "conv1.0", "interpolation": "bicubic", "crop_pct": 1.0}
    config = {"architecture": NAME, "num_classes": 10, "pretrained_cfg": own}
    (folder / "config.json").write_text(json.dumps(config))
    return [*TINY, "model=timm", f"model.name='local-dir:{folder}'", "artifact.sigma=false"]


def with_its_preprocessing(done: Done) -> str:
    """Check the weights and the preprocessing of a folder."""
    from pwfn import artifact

    data = artifact.describe(done.run / "model.pwfn")["data"]
    assert (list(data["mean"]), list(data["std"])) == ([0.1], [0.3]), data
    return f"{exact(done, state_of())}, mean 0.1 and std 0.3 are the folder's"


def whole_run(folder: Path, *more: str) -> Path:
    """Make a finished small run and return its folder."""
    program = Path(__file__).parents[2] / "train.py"
    command = [sys.executable, str(program), *TINY, "logger=none", f"hydra.run.dir={folder / 'first'}", *more]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "first"


def from_artifact(folder: Path) -> Sequence[str]:
    """Start from a compressed network."""
    shutil.copy(whole_run(folder, "pretrain.epochs=1") / "model.pwfn", folder / "model.pwfn")
    return [*TINY, f"model.checkpoint={folder / 'model.pwfn'}"]


def same_as_artifact(done: Done) -> str:
    """Check that the starting weights are those of the artifact."""
    from pwfn import artifact

    return exact(done, dict(artifact.load(done.inputs / "model.pwfn").state_dict()))


def from_own_file(folder: Path) -> Sequence[str]:
    """Start from a file that a run keeps for itself."""
    return ["inspect=true", *TINY, f"model.checkpoint={whole_run(folder, 'pretrain.epochs=0') / 'network.safetensors'}"]


def pointer(folder: Path) -> Sequence[str]:
    """Write what a clone without Git LFS has in place of a file."""
    (folder / "mine.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n")
    return ["inspect=true", *TINY, f"model.checkpoint={folder / 'mine.pth'}"]


def random_head(folder: Path) -> Sequence[str]:
    """Give weights for other classes, and train nothing."""
    torch.save(state_of(classes=3), folder / "mine.pth")
    return [*TINY, f"model.checkpoint={folder / 'mine.pth'}"]


def trained_head(folder: Path) -> Sequence[str]:
    """Give weights for other classes, and train the classifier first."""
    return [*random_head(folder), "pretrain=head", "pretrain.head_epochs=1", "pretrain.epochs=1"]


def finished(done: Done, words: str) -> str:
    """Check that a run came to its end and said something."""
    line = done.line(words)
    assert done.code == 0, f"exit code {done.code}"
    assert (done.run / "model.pwfn").is_file(), "no model.pwfn"
    return line


def size(name: str, own: str) -> Case:
    """Make the case of a model that does not take 32 pixels."""
    arguments = ["model=timm", f"model.name={name}", "data=digits", "pretrain=none"]
    return Case(f"{name} for 32 pixels", lambda _: arguments, lambda done: done.refused(f"takes {own} x {own} pixels"))


EMA = {"state_dict": state_of(2), "state_dict_ema": state_of()}
NUMBERS = {"epoch": 3, **state_of()}
CASES = [
    loads("model_best.pth.tar of timm's train.py", of_timm, "model_best.pth.tar"),
    *(
        loads(f"names with {prefix}", functools.partial(prefixed, prefix, state_of()), words=f"{prefix} is taken off")
        for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "net.", "model.", "backbone.")
    ),
    *(
        loads(f"wrapped in {key}", functools.partial(dict, {key: state_of()}))
        for key in ("model_state_dict", "net", "module", "weight", "ema")
    ),
    loads("a number beside the tensors", lambda: NUMBERS, words="what is no tensor is passed over (epoch)"),
    loads(
        "model_ema of torchvision's training script",
        lambda: {
            "model": state_of(2),
            "model_ema": {"n_averaged": torch.tensor(9), **prefixed("module.", state_of())},
            "args": argparse.Namespace(),
        },
        "model_299.pth",
        "those of model_ema",
    ),
    loads("averaged and raw weights", lambda: EMA, words="those of state_dict_ema (model.ema=false takes state_dict)"),
    loads("two kinds of raw weights", lambda: {"net": state_of(2), "model": state_of()}, words="the weights of net are not"),
    loads("averaged weights alone", lambda: {"ema": state_of()}, "mine.pth", "no raw ones", "model.ema=false"),
    loads("safetensors called .bin", state_of, "pytorch_model.bin"),
    loads("the raw ones of them", lambda: {**EMA, "state_dict": state_of(), "state_dict_ema": state_of(2)},
          "mine.pth", "those of state_dict (model.ema=true", "model.ema=false"),
    Case("another layout that timm knows", other_layout, lambda done: exact(done, state_of(name="test_convnext"))),
    Case("a folder local-dir:", local_folder, with_its_preprocessing),
    Case("a repository hf-hub: without a network",
         lambda _: [*TINY, "model=timm", "model.name='hf-hub:someone/mine'"],
         lambda done: done.refused("hf-hub:someone/mine: its weights are not on this machine, and HF_HUB_OFFLINE")),
    Case("a model.pwfn", from_artifact, same_as_artifact),
    Case("network.safetensors of a run", from_own_file, lambda done: done.refused("start from the pretrained.safetens")),
    Case("weights for other classes", random_head, lambda done: done.refused("pretrain=head trains it first")),
    Case("weights for other classes, pretrain=head", trained_head, lambda done: finished(done, "for 3 classes and the")),
    refused("Lightning with a pickled partial", lambda: lightning(functools.partial(print, 1)), "class functools.partial"),
    refused("Lightning with a DictConfig", lambda: lightning(OmegaConf.create({"a": 1})), "needs the class omegaconf"),
    refused("a whole pickled network", lambda: timm.create_model(NAME), "holds a whole pickled network (timm.models"),
    refused("weights in float8", lambda: {n: v.to(torch.float8_e4m3fn) for n, v in state_of().items()},
            "holds float8_e4m3fn weights", "mine.safetensors"),
    refused("no state dict", lambda: {"epoch": 3, "generator": {}}, "its keys are epoch, generator"),
    Case("a pointer of Git LFS", pointer, lambda done: done.refused("is a pointer of Git LFS")),
    refused("weights of another network", lambda: state_of(name="test_vit"), "they do not fit, missing are bn1.bias"),
    size("vit_tiny_patch16_224", "224"),
    size("swin_tiny_patch4_window7_224", "224"),
    size("levit_128s", "224"),
    size("inception_v3", "299"),
]  # fmt: skip
