"""Forge headers of artifacts: what is changed, and the check that must refuse it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


NAME = "model.name: String should match pattern"
ARGUMENT = "is not one that an artifact may have"
VALUE = "not a value it may have"
SECTIONS_DIFFER = "the sections are not those of this format"
HEADERS: dict[str, tuple[Change, str]] = {  # what is changed, and the check that must refuse it
    "shape of an overflowing product": (
        put("coded", 0, "shape", [2**40, 2**40, 2**40]),
        "the number of weights is impossible",
    ),
    "shape that is huge": (
        put("coded", 0, "shape", [2**20, 2**19]),
        "conv1.0.weight is [1048576, 524288] float32 in the file and [16, 3, 3, 3]",
    ),
    "shape that is negative": (put("coded", 0, "shape", [-1, 3, 3, 3]), "coded.0.shape.0: "),
    "shape of too many dimensions": (put("coded", 0, "shape", [1] * 1000), "coded.0.shape: "),
    "shape that is a float": (put("coded", 0, "shape", [16.0, 3, 3, 3]), "coded.0.shape.0: "),
    "shape that is another": (
        put("coded", 0, "shape", [3, 16, 3, 3]),
        "conv1.0.weight is [3, 16, 3, 3] float32 in the file and [16, 3, 3, 3]",
    ),
    "plain shape that is huge": (
        put("plain", 0, "shape", [2**39]),
        "section plain must have 2199023272248 bytes, not 16760",
    ),
    "plain dtype that is unknown": (put("plain", 0, "dtype", "object"), "plain.0.dtype: "),
    "plain dtype that is another": (
        put("plain", 0, "dtype", "I32"),
        "conv1.1.weight is [16] int32 in the file and [16] float32 in the model",
    ),
    "classes without end": (put("coded", 0, "classes", [10**9, 1, 1]), "coded.0.classes.0: "),
    "classes of none": (put("coded", 0, "classes", [0, 1, 1]), "coded.0.classes.0: "),
    "classes of many contexts": (
        put("coded", 0, "classes", [256, 256, 256]),
        "section contexts must have 33554492 bytes, not 34",
    ),
    "free weights without end": (put("coded", 0, "free", 10**12), "the number of weights is impossible"),
    "fewer free weights": (put("coded", 0, "free", 0), "section free must have "),
    "tables without end": (put("tables", 2**16), "section tables must have "),
    "no table": (put("tables", 0), "tables: "),
    "more tables than there are": (put("tables", 60_000), "section tables must have "),
    "sigmas without end": (put("sigma", 65_535), "section sigma_values must have 262140 bytes"),
    "no sigmas": (put("sigma", None), SECTIONS_DIFFER),
    "negative sigmas": (put("sigma", -1), "sigma: "),
    "section of negative size": (put("sections", 2, "stored", -4), "sections.2.stored: "),
    "section beyond the file": (put("sections", 2, "stored", 2**39), "the sections do not add up to the "),
    "section that inflates without end": (put("sections", 1, "size", 2**39), "section tables must have "),
    "section that inflates a bit further": (
        lambda h: h["sections"][1].update(size=h["sections"][1]["size"] + 1),
        "section tables must have ",
    ),
    "section of another size": (put("sections", 2, "size", 4), "section symbols cannot have 4 bytes in "),
    "section twice": (lambda h: h["sections"].append(h["sections"][0]), SECTIONS_DIFFER),
    "section of another name": (put("sections", 0, "name", "pickle"), SECTIONS_DIFFER),
    "sections in another order": (lambda h: h["sections"].reverse(), SECTIONS_DIFFER),
    "no sections": (put("sections", []), SECTIONS_DIFFER),
    "no tensors": (put("coded", []), "coded: "),
    "tensor twice": (lambda h: h["coded"].append(h["coded"][0]), "a tensor occurs twice"),
    "tensor left out": (lambda h: h["plain"].pop(), "section plain must have "),
    "tensor of another name": (
        put("coded", 0, "names", ["conv1.0.wait"]),
        "conv1.0.wait is [16, 3, 3, 3] float32 in the file and missing in the model",
    ),
    "tensor of no name": (put("coded", 0, "names", []), "coded.0.names: "),
    "tensor with a path for a name": (put("coded", 0, "names", ["../../conv1.weight"]), "coded.0.names.0: "),
    "tensor with lines for a name": (put("coded", 0, "names", ["a\nb\n" * 1000]), "coded.0.names.0: "),
    "codebook that is short": (lambda h: h["codebook"]["numerators"].pop(), "section tables must have "),
    "codebook of none": (
        put("codebook", {"exponent": None, "numerators": None, "bits": None}),
        "section tables must have ",
    ),
    "codebook of both": (put("codebook", "bits", [0]), "the codebook must have either exponent and numerators or bits"),
    "codebook beyond float32": (
        lambda h: h["codebook"].update(exponent=127),
        "an entry of the codebook is no float32 number",
    ),
    "codebook between float32 numbers": (
        lambda h: h["codebook"].update(numerators=[2**53 - 1] * len(h["codebook"]["numerators"])),
        "an entry of the codebook is no float32 number",
    ),
    "codebook of huge numbers": (
        lambda h: h["codebook"].update(numerators=[10**400] * len(h["codebook"]["numerators"])),
        "a numerator of the codebook does not fit 53 bits",
    ),
    "codebook of a huge exponent": (put("codebook", "exponent", -(10**9)), "codebook.exponent: "),
    "codebook that is not sorted": (
        lambda h: h["codebook"]["numerators"].reverse(),
        "finite values in ascending order",
    ),
    "codebook of NaN": (
        lambda h: h.update(
            codebook={"exponent": None, "numerators": None, "bits": [0x7FC00000] * len(h["codebook"]["numerators"])}
        ),
        "finite values in ascending order",
    ),
    "codebook larger than the network": (
        put("codebook", "numerators", list(range(500_000))),
        "the codebook has more entries than there are weights",
    ),
    "checksum of other weights": (
        put("weights_sha256", "0" * 64),
        "the decoded weights are not those that were written",
    ),
    "checksum that is none": (put("weights_sha256", 5), "weights_sha256: "),
    "key that is unknown": (put("__reduce__", "os.system"), "__reduce__: "),
    "key that is missing": (drop("plain"), "plain: "),
    "header within itself": (lambda h: h.update(config={"a": [h.copy()]}, model={"a": h.copy()}), "model.name: "),
    "name that is a path": (put("model", "name", "/etc/passwd"), NAME),
    "name that climbs": (put("model", "name", "../../../etc/passwd"), NAME),
    "name that is an address": (put("model", "name", "http://localhost/model"), NAME),
    "name on the hub": (put("model", "name", "hf-hub:timm/resnet18"), NAME),
    "name of a local folder": (put("model", "name", "local-dir:/etc"), NAME),
    "name of no model": (put("model", "name", "resnet19"), "the model 'resnet19' is not the name of a timm model"),
    "name of no tag": (put("model", "name", "test_resnet.nothing"), "test_resnet has no tag 'nothing'"),
    "name with a line": (put("model", "name", "test_resnet\n"), NAME),
    "name that is long": (put("model", "name", "a" * 10**6), "model.name: String should have at most 100 characters"),
    "name that is none": (put("model", "name", None), "model.name: "),
    "another model": (
        put("model", "name", "test_nfnet"),
        "bn1.bias is [32] float32 in the file and missing in the model",
    ),
    "a model of billions": (
        put("model", "name", "vit_giant_patch14_224"),
        "blocks.0.attn.proj.bias is missing in the file and [1408] float32 in the model",
    ),
    "classes in billions": (put("model", "num_classes", 10**9), "model.num_classes: "),
    "classes in millions": (
        put("model", "num_classes", 10**7),
        "fc.bias is [5] float32 in the file and [10000000] float32 in the model",
    ),
    "channels in thousands": (
        put("model", "in_chans", 4096),
        "conv1.0.weight is [16, 3, 3, 3] float32 in the file and [16, 4096, 3, 3]",
    ),
    "channels that are none": (put("model", "in_chans", 0), "model.in_chans: "),
    "memory that is more": (put("model", "bytes", 10**9), "takes 1501132 bytes, the header says 1000000000"),
    "argument checkpoint_path": (put("model", "args", {"checkpoint_path": "/etc/passwd"}), ARGUMENT),
    "argument pretrained": (put("model", "args", {"pretrained": True}), ARGUMENT),
    "argument pretrained_cfg": (
        put("model", "args", {"pretrained_cfg": {"url": "http://localhost/", "file": "/etc/passwd"}}),
        ARGUMENT,
    ),
    "argument pretrained_cfg_overlay": (
        put("model", "args", {"pretrained_cfg_overlay": {"file": "/etc/passwd"}}),
        ARGUMENT,
    ),
    "argument cache_dir": (put("model", "args", {"cache_dir": "/tmp"}), ARGUMENT),
    "argument features_only": (put("model", "args", {"features_only": True}), ARGUMENT),
    "argument scriptable": (put("model", "args", {"scriptable": True}), ARGUMENT),
    "argument that the model has not": (
        put("model", "args", {"img_size": 32}),
        "unexpected keyword argument 'img_size'",
    ),
    "argument without end": (put("model", "args", {"img_size": 10**9}), VALUE),
    "argument that is a text": (put("model", "args", {"drop_rate": "0.1"}), VALUE),
    "argument that is a class": (put("model", "args", {"act_layer": "torch.nn.ReLU"}), VALUE),
    "argument that names a function": (
        put("model", "args", {"norm_layer": "eval"}),
        "timm cannot build test_resnet.r160_in1k with {'norm_layer': 'eval'}",
    ),
    "argument that is a long list": (put("model", "args", {"depths": [1] * 10**4}), "model argument depths = [1, 1, "),
    "argument that nests": (put("model", "args", {"depths": [[[[1]]]]}), VALUE),
    "argument that is an object": (put("model", "args", {"drop_rate": {"_target_": "os.system"}}), VALUE),
}
FORMS: dict[str, tuple[Change, str]] = {  # the same for a file of format version 2, in the form folded_float16
    "form that is none": (put("plain_form", None), "plain_form must be null in format version 1 and a form in 2"),
    "form that is unknown": (put("plain_form", "float8"), "plain_form: "),
    "form that is missing": (drop("plain_form"), "plain_form must be null in format version 1 and a form in 2"),
    "form without folding": (put("plain_form", "float16"), "filled must be empty where plain_form is float16"),
    "form without float16": (
        put("plain_form", "folded"),
        "bn1.bias is [32] float16 in the file and [32] float32",
    ),
    "filled vector of another dtype": (put("filled", 0, "dtype", "F16"), "filled.0.dtype: "),
    "filled vector of bits beyond 32": (put("filled", 0, "bits", 2**32), "filled.0.bits: "),
    "filled vector of negative bits": (put("filled", 0, "bits", -1), "filled.0.bits: "),
    "filled vector of a number": (put("filled", 0, "bits", 0.5), "filled.0.bits: "),
    "filled vector that is huge": (put("filled", 0, "shape", [2**39]), "filled has more elements than plain"),
    "filled vector of an overflowing product": (
        put("filled", 0, "shape", [2**40] * 8),
        "filled has more elements than plain",
    ),
    "filled vector that is another": (put("filled", 0, "shape", [8]), "is [8] float32 in the file and [16] float32"),
    "filled vector with another key": (put("filled", 0, "value", 0), "filled.0.value: "),
    "filled vector twice": (lambda h: h["filled"].__setitem__(1, h["filled"][0]), "a tensor occurs twice"),
    "filled vector that is also stored": (
        lambda h: h["filled"][0].update(names=h["plain"][0]["names"]),
        "a tensor occurs twice",
    ),
    "filled vector left out": (lambda h: h["filled"].pop(), "is missing in the file and "),
    "filled that is no list": (put("filled", {}), "filled: "),
}
