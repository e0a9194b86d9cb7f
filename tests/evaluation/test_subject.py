"""What is evaluated, where a run's model is hard to build."""

from __future__ import annotations

import pytest
import timm
from torch import nn

from pwfn.evaluation.find_subject import subject_of
from pwfn.run.start import Finished
from tests.support.evaluation import settings


@pytest.mark.slow
def test_a_model_that_needs_real_tensors_is_built_with_them(
    finished_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(run=str(finished_run.folder))
    expected = subject_of(asked).data.config
    create = timm.create_model
    refused = []

    def reading_a_weight(*args: object, **options: object) -> nn.Module:
        model = create(*args, **options)
        weight = next(model.parameters())
        if weight.is_meta:
            refused.append(model)
        weight.sum().item()  # what some constructors do, and what meta tensors cannot
        return model

    monkeypatch.setattr(timm, "create_model", reading_a_weight)
    assert subject_of(asked).data.config == expected
    assert len(refused) == 1
