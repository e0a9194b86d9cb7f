"""An artifact is measured on images whose classes have another order, or are only some of the network's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pwfn.artifact import load, save
from pwfn.bayesian.posterior import to_bayesian
from pwfn.data import DataError, ImageFolder, TimmData
from pwfn.evaluation.class_columns import answer_in, columns_of
from pwfn.evaluation.find_subject import subject_of
from pwfn.evaluation.subject import CLUSTERED
from tests.support.evaluation import settings
from tests.support.images.data import CONFIG, message


def test_classes_are_matched_by_name() -> None:
    network = ("class1", "class2", "class10")
    assert columns_of("a.pwfn", network, network) == (None, "")
    columns, note = columns_of("a.pwfn", network, ("class1", "class10", "class2"))
    assert (columns, "another order" in note) == ([0, 2, 1], True)
    columns, note = columns_of("a.pwfn", network, ("class10", "class1"))
    assert columns == [2, 0]
    assert note == "The images have 2 of the network's 3 classes, matched by name: it chooses among these alone."


def test_classes_that_cannot_be_matched_are_refused() -> None:
    with pytest.raises(DataError) as error:
        columns_of("a.pwfn", ("ant", "bee"), ("ant", "cat", "dog"))
    assert message(error) == (
        "data has the classes ant, cat, dog, the network of a.pwfn ant, bee: it does not know cat, dog"
    )
    with pytest.raises(DataError, match="two classes of one name"):
        columns_of("a.pwfn", ("ant", "bee", "ant"), ("bee", "ant"))


def test_a_network_answers_with_the_chosen_outputs_and_keeps_its_layers() -> None:
    network = nn.Linear(2, 4)
    images = torch.randn(3, 2)
    whole = network(images)
    assert answer_in(None, network)(images).equal(whole)
    assert answer_in([3, 1], network)(images).equal(whole[:, [3, 1]])
    assert dict(network.named_parameters()).keys() == {"weight", "bias"}


NAMES = ("class1", "class2", "class10")
LEVELS = {"class1": 20, "class2": 120, "class10": 220}


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A network with random weights for three classes in timm's order."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("test_resnet.r160_in1k", num_classes=3, in_chans=3)
    to_bayesian(network)
    path = tmp_path / "model.pwfn"
    save(path, network, name="test_resnet.r160_in1k", num_classes=3, in_chans=3, class_names=NAMES,
         data=CONFIG | {"input_size": (3, 32, 32)})  # fmt: skip
    return path


def write_levels(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (LEVELS[name],) * 3).save(folder / name / "0.png")
    return folder


Make = Callable[[Path], ImageFolder | TimmData]


@pytest.mark.parametrize(
    "make",
    [
        lambda root: ImageFolder(root=str(root)),
        lambda root: ImageFolder(root=str(root), class_order="sorted"),
        lambda root: ImageFolder(root=str(root / "val"), test_folder="."),
        lambda root: TimmData(name="folder", root=str(root), num_classes=3, test_split="val"),
    ],
    ids=["natural", "sorted", "bare", "timm"],
)
@pytest.mark.parametrize("names", [NAMES, ("class10", "class1")], ids=["all", "some"])
def test_an_artifact_needs_test_images_alone_and_knows_its_classes_by_name(
    artifact: Path, tmp_path: Path, make: Make, names: tuple[str, ...]
) -> None:
    write_levels(tmp_path / "set" / "val", names)
    data = make(tmp_path / "set")
    subject = subject_of(settings(run=None, artifact=str(artifact), data=data, samples=0))
    images, labels = next(iter(subject.data.test_dataloader()))
    found = subject.networks[CLUSTERED]()(images)
    own = data.test_class_names
    assert own is not None
    assert set(own) == set(names)
    network = load(artifact).eval()
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        outputs = network(image[None])[0]
        assert found[row, label].item() == pytest.approx(outputs[NAMES.index(own[label])].item(), abs=1e-5)
        assert found.shape[1] == len(names)
    assert any("class" in note for note in subject.notes) == (tuple(own) != NAMES)
    assert np.array_equal(np.sort(labels.numpy()), np.arange(len(names)))
