"""The reader in C gives every tensor bit for bit, and refuses every damaged file without a complaint of a sanitizer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pwfn
from pwfn.artifact.plain_form import FORMS, PlainForm
from pwfn.bayesian.posterior import quantized_tensors
from tests.support.artifact import artifact_reader
from tests.support.artifact.c_reader import SANITIZED, compiled, run, verdicts
from tests.support.artifact.damage import cuts, flips
from tests.support.artifact.forge import Forge, whole
from tests.support.artifact.forged_headers import FORMS as FORGED_FORMS
from tests.support.artifact.forged_headers import HEADERS
from tests.support.artifact.forged_json import TEXTS
from tests.support.artifact.forged_sections import SECTIONS
from tests.support.artifact.random_forgeries import random_forgeries
from tests.support.clustered import clustered


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("reader"), "dump.c", flags=SANITIZED)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("artifact"))


# what it reads -------------------------------------------------------------------------------------------------------


def assert_same_tensors(dump: Path, path: Path) -> None:
    """Everything that the program writes is what the independent reader in Python finds."""
    header, coded, plain = artifact_reader.read(path)
    out = path.with_suffix(".out")

    def written(what: str, dtype: str) -> np.ndarray:
        assert run(dump, path, what, out) == ""
        return np.fromfile(out, dtype=dtype)

    wanted = np.concatenate([np.array(coded[one["names"][0]], dtype="<f4") for one in header["coded"]])
    values, indices = written("--values", "<f4"), written("--indices", "<u2")
    assert values.tobytes() == wanted.tobytes()
    codebook = np.append(np.array(artifact_reader.codebook(header["codebook"]), dtype="<f4"), np.float32(np.nan))
    assert written("--codebook", "<f4").tobytes() == codebook[:-1].tobytes()
    free = indices == len(codebook) - 1
    assert np.count_nonzero(free) == sum(one["free"] for one in header["coded"])
    assert codebook[indices[~free]].tobytes() == values[~free].tobytes()
    assert written("--others", "u1").tobytes() == b"".join(
        plain[one["names"][0]] for one in [*header["plain"], *header.get("filled", [])]
    )
    names = [line.split(" F32 ")[0] for line in run(dump, path).splitlines()[: len(header["coded"])]]
    assert names == [" = ".join(one["names"]) for one in header["coded"]]


@pytest.mark.parametrize("fraction", [1.0, 0.9, 0.3])
def test_a_clustered_network(dump: Path, fraction: float, tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    pwfn.save(path, clustered("test_resnet", fraction=fraction))
    assert_same_tensors(dump, path)


@pytest.mark.parametrize("form", FORMS[1:])
def test_norms_in_every_form(dump: Path, form: PlainForm, tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    pwfn.save(path, clustered("test_resnet"), plain=form)
    assert_same_tensors(dump, path)


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.other = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 8, bias=False)
        self.other.weight = self.one.weight
        self.register_buffer("empty", torch.empty(0, 3, dtype=torch.float16))


def _of_values(values: Sequence[float]) -> nn.Module:
    network = _Tied()
    with torch.no_grad():
        for parameter in (network.one.weight, network.one.bias):
            chosen = torch.randint(len(values), parameter.shape, generator=torch.Generator().manual_seed(0))
            parameter.copy_(torch.tensor(values)[chosen])
    return network


VALUES = {
    "grid": [-0.375, 0.0, 0.125, 0.25],
    "subnormal": [1e-45, 3e-45, 1e-40, 0.0, -1e-45],
    "largest": [3.4028234663852886e38, -1.7e38, 2.0**127],
    "no common grid": [1e-45, 3.4028234663852886e38, 1.1754944e-38],
    "negative zero": [-0.0, 0.0, 1.0],
    "one value": [0.5],
}


@pytest.mark.filterwarnings("ignore:the artifact will not say")
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_values_of_every_kind_tied_and_empty_tensors(dump: Path, values: Sequence[float], tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    pwfn.save(path, _of_values(values))
    assert_same_tensors(dump, path)


def test_sigmas(dump: Path, artifact: Path, tmp_path: Path) -> None:
    run(dump, artifact, "--sigmas", tmp_path / "sigmas")
    wanted = {t.name: t.gaussian.sigma.detach() for t in quantized_tensors(pwfn.load(artifact, posterior=True))}
    order = [one["names"][0] for one in pwfn.describe(artifact)["coded"]]
    assert (tmp_path / "sigmas").read_bytes() == b"".join(wanted[name].numpy().tobytes() for name in order)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "the output cannot be written"),
        (["--values", "/dev/full"], "the output cannot be written"),
        (["--others", "/dev/full"], "the output cannot be written"),
        (["--values", "/nowhere/weights"], "the output cannot be written"),
        (["--sigmas", "/dev/null"], "the file has no sigmas"),
    ],
)
def test_output_that_is_not_complete_is_an_error(dump: Path, arguments: list[str], wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pwfn"
    pwfn.save(path, clustered("test_resnet"))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [dump, path, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert done.stderr == f"{path}: {wanted}\n"


def test_a_network_larger_than_allowed(dump: Path, artifact: Path) -> None:
    weights = pwfn.describe(artifact)["weights"]
    said = [run(dump, "--check", str(most), text=f"{artifact}\n") for most in (weights, weights - 1)]
    assert said[0] == "sound\n"
    assert "more weights than" in said[1]


# what it refuses -----------------------------------------------------------------------------------------------------


def all_refused(dump: Path, paths: Sequence[Path]) -> None:
    said = verdicts(dump, paths)
    assert [path for path, line in zip(paths, said, strict=True) if not line.startswith("refused: ")] == []


def test_every_damaged_file(dump: Path, artifact: Path, tmp_path: Path) -> None:
    content = artifact.read_bytes()
    damaged = [content[:position] for position in cuts(content)]
    damaged += [bytes(flipped) for _, flipped in flips(content)]
    damaged += [content + b"\0", b"", b"state_dict: 1\n" * 1000]
    paths = [tmp_path / str(number) for number in range(len(damaged))]
    for path, one in zip(paths, damaged, strict=True):
        path.write_bytes(one)
    (tmp_path / "folder").mkdir()
    assert len(paths) == 703
    all_refused(dump, [*paths, tmp_path / "folder", tmp_path / "nowhere"])
    assert verdicts(dump, [artifact]) == ["sound"]


def described(path: Path) -> bool:
    try:
        pwfn.describe(path)
    except pwfn.ArtifactError:
        return False
    return True


def test_forged_headers(dump: Path, artifact: Path, tmp_path: Path) -> None:
    """What `describe` refuses is refused. The others forge the model, which only Python builds, or the weights."""
    paths = []
    for name, (change, _) in HEADERS.items():
        forge = Forge(artifact)
        change(forge.header)
        paths.append(forge.seal(tmp_path / name.replace(" ", "_")))
    unsound = [path for path in paths if not described(path)]
    assert len(unsound) > 45
    all_refused(dump, unsound)
    of_weights = [tmp_path / name for name in ("checksum_of_other_weights", "tables_without_end", "shape_that_is_huge")]
    all_refused(dump, of_weights)
    verdicts(dump, paths)


@pytest.fixture(scope="module")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("smaller"), "folded_float16")


def test_forged_headers_of_version_2(dump: Path, smaller: Path, tmp_path: Path) -> None:
    paths = []
    for name, (change, _) in FORGED_FORMS.items():
        forge = Forge(smaller)
        change(forge.header)
        paths.append(forge.seal(tmp_path / name.replace(" ", "_")))
    forge = Forge(smaller)
    forge.version = 1
    paths.append(forge.seal(tmp_path / "version_1"))
    assert verdicts(dump, [smaller]) == ["sound"]
    unsound = [path for path in paths if not described(path)]
    assert len(unsound) > 13
    all_refused(dump, unsound)
    verdicts(dump, paths)


def test_damaged_files_of_version_2(dump: Path, smaller: Path, tmp_path: Path) -> None:
    paths = []
    for number, (_, flipped) in enumerate(flips(smaller.read_bytes())):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(bytes(flipped))
    all_refused(dump, paths)


def randomly_forged(dump: Path, file: Path, folder: Path) -> tuple[list[Path], list[Path]]:
    """The forgeries that the reader refuses, and those it calls sound, which Python can read as well."""
    paths = [forge.seal(folder / str(number)) for number, (forge, _) in enumerate(random_forgeries(file))]
    said = dict(zip(paths, verdicts(dump, paths), strict=True))
    sound = [path for path in paths if said[path] == "sound"]
    assert [path for path in sound if not described(path)] == []
    return [path for path in paths if path not in sound], sound


@pytest.mark.slow
def test_random_forgeries_of_version_2(dump: Path, smaller: Path, tmp_path: Path) -> None:
    refused, _ = randomly_forged(dump, smaller, tmp_path)
    assert len(refused) > 200


def test_forged_json(dump: Path, artifact: Path, tmp_path: Path) -> None:
    paths = []
    for name, (change, _) in TEXTS.items():
        forge = Forge(artifact)
        forge.header["class_names"] = ["abc"]
        paths.append(forge.seal(tmp_path / name, text=change(json.dumps(forge.header))))
    for number, (length, version) in enumerate([(0, 1), (2**31, 1), (2**32 - 1, 1), (None, 0), (None, 2)]):
        forge = Forge(artifact)
        forge.version = version
        paths.append(forge.seal(tmp_path / f"preamble{number}", length=length))
    all_refused(dump, paths)


def test_forged_sections(dump: Path, artifact: Path, tmp_path: Path) -> None:
    paths = []
    for name, (change, *_) in SECTIONS.items():
        forge = Forge(artifact)
        change(forge)
        paths.append(forge.seal(tmp_path / name))
    all_refused(dump, paths)


def test_classes_and_shapes_that_do_not_belong_together(dump: Path, artifact: Path, tmp_path: Path) -> None:
    """Shapes of the same product, and sizes whose product overflows: the reader in C has no model to compare with."""

    def shape(*sizes: int) -> Callable[[Forge], None]:
        return lambda forge: forge.header["coded"][0].update(shape=list(sizes))

    changes = [shape(0, 2**40, 2**40, 2**40), shape(2**40, 2**40, 2**40, 2**40), shape(2**20, 2**20), shape(1, 0)]
    changes += [lambda forge: forge.header["coded"][0].update(classes=[256, 256, 256])]
    changes += [lambda forge: forge.replace("contexts", bytes(255 for _ in forge.section("contexts")))]
    paths = []
    for number, change in enumerate(changes):
        forge = Forge(artifact)
        change(forge)
        paths.append(forge.seal(tmp_path / str(number)))
    all_refused(dump, paths)


@pytest.mark.slow
def test_random_forgeries(dump: Path, artifact: Path, tmp_path: Path) -> None:
    """A forged file is refused, or gives the weights that its own checksum asks for, which are the true ones."""
    refused, sound = randomly_forged(dump, artifact, tmp_path)
    assert 250 < len(refused) < 400
    run(dump, artifact, "--values", tmp_path / "wanted")
    for path in sound:
        run(dump, path, "--values", tmp_path / "found")
        assert (tmp_path / "found").read_bytes() == (tmp_path / "wanted").read_bytes()
