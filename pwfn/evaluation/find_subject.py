"""Find what is evaluated: the networks of a run or of an artifact."""

from __future__ import annotations

from pwfn.evaluation.artifact_subject import subject_of_artifact
from pwfn.evaluation.run_subject import subject_of_run
from pwfn.evaluation.settings import EvaluateSettings
from pwfn.evaluation.subject import Subject


def subject_of(settings: EvaluateSettings) -> Subject:
    """Return the subject that the settings name.

    Raises:
        NotAFinishedRun: the folder holds no finished run.
        ConfigError: its configuration cannot be used.
        ArtifactError: the artifact cannot be used.
        DataError: the data does not fit.
    """
    return subject_of_run(settings) if settings.run is not None else subject_of_artifact(settings)
