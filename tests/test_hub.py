"""The hub that does not answer: no waiting, and what is in the cache is used. No network: local ports stand for it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from pwfn import hub
from pwfn.models.timm_model import ModelError, ModelSpec

NAME = "test_resnet.r160_in1k"


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An address at which nobody answers, an empty cache, and no patience: whoever waits, fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waited for {seconds} seconds"))
    return address


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server that knows nothing; yields what it is asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


def test_any_answer_will_do(answering: list[str]) -> None:
    assert hub.unreachable() is None
    assert len(answering) == 1


def test_no_answer_is_said_and_leaves_nothing_changed(closed: str) -> None:
    assert str(hub.unreachable()).startswith(f"{closed} does not answer: ")
    with hub.answering_at_once() as reason:
        assert reason is not None
        assert constants.is_offline_mode()
    assert not constants.is_offline_mode()
    with hub.answering_at_once(asked=False) as reason:
        assert reason is None
        assert not constants.is_offline_mode()


@pytest.mark.parametrize(
    "address",
    [
        "huggingface.co",
        "htp://hub",
        "https://",
        "http://[x",
        "http://hub:port",
        "http://hub:0",
        "http://a hub",
        "http://hüb",
    ],
)
def test_a_malformed_endpoint_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"HF_ENDPOINT = {address!r}: must be the address of a hub, such as https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        ModelSpec(NAME)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    with hub.answering_at_once() as reason:
        assert reason == line


@pytest.mark.parametrize("address", ["", "https://huggingface.co", "http://localhost:8080/hub", "http://[::1]:80"])
def test_addresses_of_hubs(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    ModelSpec(NAME)


def test_no_lookups_when_told_to_stay_offline(answering: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.unreachable() == "HF_HUB_OFFLINE is set"
    with hub.answering_at_once():
        assert constants.is_offline_mode()
    assert constants.is_offline_mode()
    assert answering == []


def test_weights_that_are_not_there_are_one_line_at_once(closed: str) -> None:
    with pytest.raises(ModelError) as error:
        ModelSpec(NAME, pretrained=True).build(num_classes=1000, in_chans=3)
    text = str(error.value)
    assert text.startswith(f"{NAME}: its weights are not on this machine, and {closed} does not answer: ")
    assert "model.pretrained=false model.checkpoint=<file>" in text
    assert "\n" not in text


@pytest.mark.usefixtures("closed")
def test_weights_in_the_cache_need_no_hub(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = timm.create_model(NAME, num_classes=1000)
    repository = tmp_path / "cache" / "models--timm--test_resnet.r160_in1k"
    revision = "0" * 40
    (repository / "snapshots" / revision).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    save_file(source.state_dict(), repository / "snapshots" / revision / "model.safetensors")
    torch.manual_seed(2)
    built = ModelSpec(NAME, pretrained=True).build(num_classes=1000, in_chans=3).state_dict()
    assert all(torch.equal(built[name], value) for name, value in source.state_dict().items())


@pytest.mark.usefixtures("closed")
def test_local_files_and_random_weights_ask_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "unreachable", lambda: pytest.fail("asked"))
    ModelSpec(NAME).build(num_classes=10, in_chans=3)
    ModelSpec(NAME, pretrained=True).build(num_classes=10, in_chans=3, load_weights=False)
