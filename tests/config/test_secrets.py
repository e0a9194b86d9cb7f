"""Texts under keys like `token` are hidden, and nothing else is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pwfn.config.resolvers import job_folder
from pwfn.config.secrets import without_given_secrets, without_secrets
from pwfn.records.provenance import Provenance


def test_secrets_are_hidden_by_key_and_nothing_else_is() -> None:
    config = {
        "api_key": "x",
        "cls_token": True,
        "list": [{"WANDB_API_KEY": "y"}],
        "password": "",
        "tokens": "z",
        "n": 1,
    }
    hidden = {**config, "api_key": "***", "list": [{"WANDB_API_KEY": "***"}]}
    assert without_secrets(config) == hidden
    assert config["api_key"] == "x"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("+model.args.token=hf_abc", "+model.args.token=***"),
        ("hydra.job.env_set.WANDB_API_KEY=abc123", "hydra.job.env_set.WANDB_API_KEY=***"),
        ("+a={hf_token: 'x y', b: 2}", "+a={hf_token: ***, b: 2}"),
        ('password="a, b"', "password=***"),
        ("seed=1,token=x,lr=2", "seed=1,token=***,lr=2"),
        ("data.tokens=5", "data.tokens=5"),
        ("model.tokenizer=x", "model.tokenizer=x"),
        ("notes=[keys,secretary=7]", "notes=[keys,secretary=7]"),
        ("optimizer.lr=0.1", "optimizer.lr=0.1"),
    ],
)
def test_of_what_is_given_on_a_command_line_too(line: str, shown: str) -> None:
    assert without_given_secrets(line) == shown


def test_neither_the_record_of_a_command_nor_a_folder_tells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path("train.py").absolute()), "seed=1", "+model.args.token=hf_abc"])
    assert Provenance.of_this_program().command == "train.py seed=1 '+model.args.token=***'"
    assert job_folder(3, "+model.args.token=hf_abc,seed=1") == "3_model.args.token-+seed-1"
