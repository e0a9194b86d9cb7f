"""Stand in for a W&B server on this machine: enough of its API for whole runs, and a record of all that arrives.

It takes POST /graphql, POST /files/<entity>/<project>/<run>/file_stream, and PUT and GET of files at the addresses that
it gives out itself. It listens on 127.0.0.1 alone, keeps at most `MOST_BYTES` and ends with its block.
"""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import wandb

from tests.support.loggers.wandb_api import WandbServer

MOST_BYTES = 64 * 2**20
SECONDS = 900  # after which it answers nobody


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, status: int, content: bytes = b"{}") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _fails(self, path: str) -> bool:
            fault = server.fault(path)
            if isinstance(fault, float):
                time.sleep(fault)
                return False
            if fault == "drop":
                self.close_connection = True
                return True
            if fault is not None:
                self._answer(int(fault), b'{"error": "as asked for"}')
            return fault is not None

        def _received(self) -> tuple[str, bytes] | None:
            """Return path and content of a request, None where it has been answered, or not, by a fault."""
            body, path = self._body(), unquote(urlsplit(self.path).path)
            with server.lock:
                server.requests.append(path)
                if self.command == "POST":
                    server.keys.add(self.headers.get("Authorization", ""))
                server.bytes += len(body)
            if self._fails(path):
                return None
            if server.bytes > MOST_BYTES:
                self._answer(507)
                return None
            return path, gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def do_POST(self) -> None:
            if (received := self._received()) is None:
                return
            path, body = received
            sent, answer = json.loads(body or b"{}"), {}
            with server.lock:
                if path == "/graphql":
                    answer = {"data": server.graphql(sent["query"], sent.get("variables") or {})}
                elif path.endswith("/file_stream"):
                    answer = server.file_stream(path.split("/")[-2], sent)
            self._answer(200, json.dumps(answer).encode())

        def do_PUT(self) -> None:
            if (received := self._received()) is not None:
                path, body = received
                with server.lock:
                    server.store(path.removeprefix("/storage/"), body)
                self._answer(200)

        def do_GET(self) -> None:
            kind, key, name = (*unquote(urlsplit(self.path).path).removeprefix("/storage/").split("/", 2), "", "")[:3]
            stored = server.artifacts[key].files if kind == "artifact" and key in server.artifacts else {}
            self._answer(200 if name in stored else 404, stored.get(name, b""))

    return Handler


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Keep silent where a client goes away, as W&B's helper does at the end of a run."""


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """Serve at a free port of 127.0.0.1 until the block ends, at most `SECONDS`."""
    server = WandbServer()
    listener = _Listener(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    stop = threading.Timer(SECONDS, listener.shutdown)
    stop.daemon = True
    thread.start()
    stop.start()
    try:
        yield server
    finally:
        stop.cancel()
        listener.shutdown()
        listener.server_close()
        thread.join(5)


@contextmanager
def logged_to(server: WandbServer, home: Path, **variables: str) -> Iterator[None]:
    """Have this process log to the server until the block ends."""
    # first: W&B names its helper process in a variable, and that one must not come back when the helper is gone
    wandb.teardown()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name, value in (server.environment(home) | variables).items():
            patch.setenv(name, value)
        yield
        server.fault = lambda _: None
        wandb.teardown()
