"""Write the artifact of a run.

It holds everything that a machine which never saw the run needs to use and to check its network.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pwfn.artifact.container import ArtifactError
from pwfn.artifact.header import Recipe
from pwfn.artifact.parts import Parts, storable_state, take_apart
from pwfn.artifact.plain_form import PlainForm, stored_plain
from pwfn.artifact.receipt import Receipt
from pwfn.artifact.recipe import recipe_of
from pwfn.artifact.write import write
from pwfn.config.secrets import without_secrets
from pwfn.models.timm_model import data_config
from pwfn.records.files import ARTIFACT
from pwfn.records.rounds import RoundRecord, Scores

if TYPE_CHECKING:
    from pwfn.run.settings import TrainSettings

ARTIFACT_FACTS = ("format_version", "file", "weights", "free", "model", "receipt", "metrics", "weights_sha256")


def recipe_warnings(settings: TrainSettings, network: nn.Module) -> list[str]:
    """Warn before a long run that its artifact will be loaded only into a model that the user builds."""
    try:
        _recipe(settings, storable_state(network))
    except ArtifactError as error:
        return [f"{ARTIFACT} will not say how to build the model: {error}"]
    return []


def write_run_artifact(
    folder: Path,
    network: nn.Module,
    settings: TrainSettings,
    config: Any,
    baseline: Scores,
    record: RoundRecord,
    *,
    file: str = ARTIFACT,
    last: bool = True,
) -> Receipt:
    """Write the network of a run, as it is after the round of `record`, and return its sizes.

    Args:
        folder: the folder of the run.
        network: the Bayesian network.
        settings: the settings of the run.
        config: the resolved configuration that they were built from; its secrets are left out.
        baseline: the scores before any round.
        record: the record of the round that has just ended.
        file: the name of the file.
        last: whether this is the last round; then the form is that of `artifact.plain`, which the network must have,
            and the receipt also says what zip makes of the float network, which takes a few seconds.

    Raises:
        ArtifactError: the network was measured before it was brought into that form.
    """
    parts = take_apart(network)
    try:
        recipe: Recipe | None = _recipe(settings, parts.state)
    except ArtifactError as error:
        recipe = None
        warnings.warn(f"{file} does not say how to build the model: {error}", stacklevel=2)
    metrics = {"pretrained": asdict(baseline), "final": record.flat()}
    about = _about(settings, network, config) | {"metrics": metrics}
    form: PlainForm = settings.artifact.plain if last else "exact"
    _require_measured(parts, form)
    return write(folder / file, parts, recipe, about, sigma=settings.artifact.sigma, zipped=last, plain=form)


def _require_measured(parts: Parts, form: PlainForm) -> None:
    """Raise ArtifactError if the file would give another network than the one at hand, which was measured."""
    if form != "exact" and not stored_plain(parts.plain, parts.norms, form).same:
        raise ArtifactError(
            f"artifact.plain = {form!r}: the network was measured before this form was asked for; resume with 'exact'"
        )


def trial_receipt(network: nn.Module, settings: TrainSettings, config: Any) -> Receipt:
    """Return what the artifact of a network will take, but for the few figures of its last round.

    Args:
        network: the Bayesian network.
        settings: of the run.
        config: the resolved configuration that they were built from.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / ARTIFACT
        parts = take_apart(network)
        about, artifact = _about(settings, network, config), settings.artifact
        return write(path, parts, None, about, sigma=artifact.sigma, plain=artifact.plain)


def _about(settings: TrainSettings, network: nn.Module, config: Any) -> dict[str, Any]:
    return {
        "data": settings.data.image_config(data_config(network)),
        "class_names": settings.data.class_names,
        "config": without_secrets(config),
    }


def _recipe(settings: TrainSettings, state: dict[str, Tensor]) -> Recipe:
    name, args = settings.model.registered()
    return recipe_of(name, settings.data.num_classes, settings.data.channels, args, state)
