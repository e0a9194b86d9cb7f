"""Hostile artifacts, under right checksums: refused in one line, or harmless."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pwfn
from pwfn.bayesian.posterior import to_deterministic
from tests.support.forge import Forge, refused, whole


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("artifact"))


def outcome(path: Path, wanted: dict[str, Tensor], *, posterior: bool = False) -> str:
    """What became of a forged file; any other exception than ArtifactError, and any other model, fails the test."""
    try:
        model = pwfn.load(path, posterior=posterior)
    except pwfn.ArtifactError as error:
        assert "\n" not in str(error)
        return "refused"
    state = to_deterministic(model).state_dict()
    assert state.keys() == wanted.keys() and all(torch.equal(state[key], wanted[key]) for key in state)
    return "loaded"


# forged headers ------------------------------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], Any]


def put(*keys: Any) -> Change:
    """`put("model", "name", value)`: the value at that place of the header."""

    def change(header: dict[str, Any]) -> None:
        *path, last, value = keys
        node: Any = header
        for key in path:
            node = node[key]
        node[last] = value

    return change


def both(*changes: Change) -> Change:
    return lambda header: [change(header) for change in changes]


def drop(key: str) -> Change:
    return lambda header: header.pop(key)


HEADERS: dict[str, Change] = {
    "shape of an overflowing product": put("coded", 0, "shape", [2**40, 2**40, 2**40]),
    "shape that is huge": put("coded", 0, "shape", [2**20, 2**19]),
    "shape that is negative": put("coded", 0, "shape", [-1, 3, 3, 3]),
    "shape of too many dimensions": put("coded", 0, "shape", [1] * 1000),
    "shape that is a float": put("coded", 0, "shape", [16.0, 3, 3, 3]),
    "shape that is another": put("coded", 0, "shape", [3, 16, 3, 3]),
    "plain shape that is huge": put("plain", 0, "shape", [2**39]),
    "plain dtype that is unknown": put("plain", 0, "dtype", "object"),
    "plain dtype that is another": put("plain", 0, "dtype", "I32"),
    "classes without end": put("coded", 0, "classes", [10**9, 1, 1]),
    "classes of none": put("coded", 0, "classes", [0, 1, 1]),
    "classes of many contexts": put("coded", 0, "classes", [256, 256, 256]),
    "free weights without end": put("coded", 0, "free", 10**12),
    "fewer free weights": put("coded", 0, "free", 0),
    "tables without end": put("tables", 2**16),
    "no table": put("tables", 0),
    "more tables than there are": put("tables", 60_000),
    "sigmas without end": put("sigma", 65_535),
    "no sigmas": put("sigma", None),
    "negative sigmas": put("sigma", -1),
    "section of negative size": put("sections", 2, "stored", -4),
    "section beyond the file": put("sections", 2, "stored", 2**39),
    "section that inflates without end": put("sections", 1, "size", 2**39),
    "section that inflates a bit further": lambda h: h["sections"][1].update(size=h["sections"][1]["size"] + 1),
    "section twice": lambda h: h["sections"].append(h["sections"][0]),
    "section of another name": put("sections", 0, "name", "pickle"),
    "sections in another order": lambda h: h["sections"].reverse(),
    "no sections": put("sections", []),
    "no tensors": put("coded", []),
    "tensor twice": lambda h: h["coded"].append(h["coded"][0]),
    "tensor left out": lambda h: h["plain"].pop(),
    "tensor of another name": put("coded", 0, "names", ["conv1.0.wait"]),
    "tensor of no name": put("coded", 0, "names", []),
    "tensor with a path for a name": put("coded", 0, "names", ["../../conv1.weight"]),
    "tensor with lines for a name": put("coded", 0, "names", ["a\nb\n" * 1000]),
    "codebook that is short": lambda h: h["codebook"]["numerators"].pop(),
    "codebook of none": put("codebook", {"exponent": None, "numerators": None, "bits": None}),
    "codebook of both": put("codebook", "bits", [0]),
    "codebook beyond float32": lambda h: h["codebook"].update(exponent=127),
    "codebook between float32 numbers": lambda h: h["codebook"].update(numerators=[2**53 - 1] * len(h["codebook"]["numerators"])),
    "codebook of huge numbers": lambda h: h["codebook"].update(numerators=[10**400] * len(h["codebook"]["numerators"])),
    "codebook of a huge exponent": put("codebook", "exponent", -(10**9)),
    "codebook that is not sorted": lambda h: h["codebook"]["numerators"].reverse(),
    "codebook of NaN": lambda h: h.update(codebook={"exponent": None, "numerators": None, "bits": [0x7FC00000] * len(h["codebook"]["numerators"])}),
    "codebook larger than the network": put("codebook", "numerators", list(range(500_000))),
    "checksum of other weights": put("weights_sha256", "0" * 64),
    "checksum that is none": put("weights_sha256", 5),
    "key that is unknown": put("__reduce__", "os.system"),
    "key that is missing": drop("plain"),
    "header within itself": lambda h: h.update(config={"a": [h.copy()]}, model={"a": h.copy()}),
    "name that is a path": put("model", "name", "/etc/passwd"),
    "name that climbs": put("model", "name", "../../../etc/passwd"),
    "name that is an address": put("model", "name", "http://localhost/model"),
    "name on the hub": put("model", "name", "hf-hub:timm/resnet18"),
    "name of a local folder": put("model", "name", "local-dir:/etc"),
    "name of no model": put("model", "name", "resnet19"),
    "name of no tag": put("model", "name", "test_resnet.nothing"),
    "name with a line": put("model", "name", "test_resnet\n"),
    "name that is long": put("model", "name", "a" * 10**6),
    "name that is none": put("model", "name", None),
    "another model": put("model", "name", "test_nfnet"),
    "a model of billions": put("model", "name", "vit_giant_patch14_224"),
    "classes in billions": put("model", "num_classes", 10**9),
    "classes in millions": put("model", "num_classes", 10**7),
    "channels in thousands": put("model", "in_chans", 4096),
    "channels that are none": put("model", "in_chans", 0),
    "memory that is more": put("model", "bytes", 10**9),
    "argument checkpoint_path": put("model", "args", {"checkpoint_path": "/etc/passwd"}),
    "argument pretrained": put("model", "args", {"pretrained": True}),
    "argument pretrained_cfg": put("model", "args", {"pretrained_cfg": {"url": "http://localhost/", "file": "/etc/passwd"}}),
    "argument pretrained_cfg_overlay": put("model", "args", {"pretrained_cfg_overlay": {"file": "/etc/passwd"}}),
    "argument cache_dir": put("model", "args", {"cache_dir": "/tmp"}),
    "argument features_only": put("model", "args", {"features_only": True}),
    "argument scriptable": put("model", "args", {"scriptable": True}),
    "argument that the model has not": put("model", "args", {"img_size": 32}),
    "argument without end": put("model", "args", {"img_size": 10**9}),
    "argument that is a text": put("model", "args", {"drop_rate": "0.1"}),
    "argument that is a class": put("model", "args", {"act_layer": "torch.nn.ReLU"}),
    "argument that names a function": put("model", "args", {"norm_layer": "eval"}),
    "argument that is a long list": put("model", "args", {"depths": [1] * 10**4}),
    "argument that nests": put("model", "args", {"depths": [[[[1]]]]}),
    "argument that is an object": put("model", "args", {"drop_rate": {"_target_": "os.system"}}),
}  # fmt: skip


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS.keys())
def test_a_forged_header(change: Change, artifact: Path, tmp_path: Path) -> None:
    forge = Forge(artifact)
    change(forge.header)
    refused(forge.seal(tmp_path / "forged"))


TEXTS: dict[str, Callable[[str], bytes]] = {
    "NaN": lambda text: text.replace('"metrics": null', '"metrics": {"a": NaN}').encode(),
    "infinity": lambda text: text.replace('"metrics": null', '"metrics": {"a": -Infinity}').encode(),
    "key twice": lambda text: text.replace('"tables":', '"tables": 1, "tables":').encode(),
    "deep lists": lambda text: text.replace('"metrics": null', '"metrics": {"a": ' + "[" * 10**6 + "]" * 10**6 + "}").encode(),
    "deep objects": lambda text: b'{"a":' * 10**6 + b"1" + b"}" * 10**6,
    "number of a million digits": lambda text: text.replace('"tables": ', '"tables": ' + "9" * 10**6).encode(),
    "cut": lambda text: text[:-1].encode(),
    "more after the end": lambda text: (text + "{}").encode(),
    "list": lambda text: b"[]",
    "nothing": lambda text: b"",
    "no UTF-8": lambda text: text.replace("abc", "\udcff", 1).encode("utf-8", "surrogateescape") + b"\xff",
    "UTF-16": lambda text: text.encode("utf-16"),
    "larger than a header may be": lambda text: text.encode() + b" " * (9 << 20),
}  # fmt: skip


@pytest.mark.parametrize("change", TEXTS.values(), ids=TEXTS.keys())
def test_forged_json(change: Callable[[str], bytes], artifact: Path, tmp_path: Path) -> None:
    forge = Forge(artifact)
    forge.header["class_names"] = ["abc"]
    path = forge.seal(tmp_path / "forged", text=change(json.dumps(forge.header)))
    refused(path)
    with pytest.raises(pwfn.ArtifactError) as error:
        pwfn.describe(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("length", "version"), [(0, 1), (2**31, 1), (2**32 - 1, 1), (None, 0), (None, 2), (None, 2**32 - 1)]
)
def test_a_forged_preamble(length: int | None, version: int, artifact: Path, tmp_path: Path) -> None:
    forge = Forge(artifact)
    forge.version = version
    path = forge.seal(tmp_path / "forged", length=length)
    refused(path, "version" if version != 1 else "header")
    with pytest.raises(pwfn.ArtifactError):
        pwfn.describe(path)


# forged sections -----------------------------------------------------------------------------------------------------


def altered(name: str, index: int, value: int) -> Callable[[Forge], None]:
    def change(forge: Forge) -> None:
        content = forge.section(name)
        content[index] = value
        forge.replace(name, bytes(content))

    return change


def replaced(name: str, content: Callable[[bytearray], bytes]) -> Callable[[Forge], None]:
    return lambda forge: forge.replace(name, content(forge.section(name)))


SECTIONS: dict[str, tuple[Callable[[Forge], None], bool]] = {  # how, and whether only the posterior is concerned
    "class that there is not": (altered("contexts", 0, 255), False),
    "table that there is not": (replaced("contexts", lambda c: bytes(c[:-2]) + b"\xff\xff"), False),
    "tables that are empty": (replaced("tables", lambda c: bytes(len(c))), False),
    "tables of one symbol": (replaced("tables", lambda c: b"\1" + bytes(len(c) - 1)), False),
    "tables of other frequencies": (replaced("tables", lambda c: bytes(b and 1 for b in c)), False),
    "tables of extremes": (replaced("tables", lambda c: bytes(b and 255 * (i % 2) + 1 * (1 - i % 2) for i, b in enumerate(c))), False),
    "no symbols": (replaced("symbols", lambda c: b""), False),
    "fewer symbols": (replaced("symbols", lambda c: bytes(c[: len(c) // 8 * 4])), False),
    "one word fewer": (replaced("symbols", lambda c: bytes(c[:-4])), False),
    "one word more": (replaced("symbols", lambda c: bytes(c) + b"\1\0\0\0"), False),
    "a zero word at the end": (replaced("symbols", lambda c: bytes(c) + bytes(4)), False),
    "zeros for symbols": (replaced("symbols", lambda c: bytes(len(c))), False),
    "ones for symbols": (replaced("symbols", lambda c: b"\xff" * len(c)), False),
    "half a word": (replaced("symbols", lambda c: bytes(c[:-2])), False),
    "other free weights": (altered("free", 0, 77), False),
    "fewer free weights": (replaced("free", lambda c: bytes(c[:-4])), False),
    "more free weights": (replaced("free", lambda c: bytes(c) + bytes(4)), False),
    "fewer plain bytes": (replaced("plain", lambda c: bytes(c[:-1])), False),
    "no sigma symbols": (replaced("sigma_symbols", lambda c: b""), True),
    "other sigma symbols": (replaced("sigma_symbols", lambda c: b"\xff" * len(c)), True),
    "empty sigma tables": (replaced("sigma_tables", lambda c: bytes(len(c))), True),
    "fewer free sigmas": (replaced("sigma_free", lambda c: bytes(c[:-4])), True),
    "more free sigmas": (replaced("sigma_free", lambda c: bytes(c) + bytes(4)), True),
    "half a sigma": (replaced("sigma_free", lambda c: bytes(c[:-2])), True),
}  # fmt: skip


@pytest.mark.parametrize(("change", "posterior"), SECTIONS.values(), ids=SECTIONS.keys())
def test_a_forged_section(change: Callable[[Forge], None], posterior: bool, artifact: Path, tmp_path: Path) -> None:
    forge = Forge(artifact)
    change(forge)
    refused(forge.seal(tmp_path / "forged"), posterior=posterior)


def test_a_bomb_in_a_section(artifact: Path, tmp_path: Path) -> None:
    """A section that inflates to a gigabyte, whatever the header says of it."""
    forge = Forge(artifact)
    bomb = zlib.compressobj()
    forge.sections["tables"] = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(256)) + bomb.flush()
    forge.header["sections"][1]["stored"] = len(forge.sections["tables"])
    refused(forge.seal(tmp_path / "forged"), "tables")
    forge.header["sections"][1]["size"] = 256 << 20
    refused(forge.seal(tmp_path / "forged"))


@pytest.mark.slow
def test_random_forgeries(artifact: Path, tmp_path: Path) -> None:
    """Bytes of sections and values of the header changed at random, under right checksums."""
    dice = random.Random(1)
    tally, wanted = {"refused": 0, "loaded": 0}, pwfn.load(artifact).state_dict()
    for _ in range(150):
        forge = Forge(artifact)
        name = dice.choice(["contexts", "tables", "symbols", "free", "sigma_tables", "sigma_symbols", "sigma_values"])
        content = forge.section(name)
        for _ in range(dice.choice([1, 10, 1000])):
            content[dice.randrange(len(content))] = dice.randrange(256)
        forge.replace(name, bytes(content))
        tally[outcome(forge.seal(tmp_path / "forged"), wanted, posterior=name.startswith("sigma"))] += 1
    for _ in range(250):
        forge = Forge(artifact)
        scramble(forge.header, dice)
        tally[outcome(forge.seal(tmp_path / "forged"), wanted, posterior=dice.random() < 0.3)] += 1
    assert tally["refused"] > 250


def scramble(node: Any, dice: random.Random) -> None:
    """Put something else at one random place of a nested structure."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    key = dice.choice(list(keys))
    if isinstance(node[key], dict | list) and node[key] and dice.random() < 0.9:
        scramble(node[key], dice)
        return
    worst = [None, -1, 0, 1, 2, 2**31, 2**32, 2**63, 2**64, 1e308, 0.5, "", "x", "../x", True, [], {}, [[]], [0] * 20]
    node[key] = dice.choice(worst)
