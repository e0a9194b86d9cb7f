"""Answer what W&B's client asks of a server, and keep all that it sends.

It knows what wandb 0.31 asks for: the operations of GraphQL, the stream of a run's rows, and stored files.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.support.loggers.wandb_answers import ANSWERS
from tests.support.loggers.wandb_records import KEY, Artifact, Run


class WandbServer:
    """Answer W&B's client.

    `fault` may be set to a function of a request's path that returns what goes wrong with it: an HTTP status, "drop"
    (the connection ends without an answer), seconds to wait (a float), or None.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.operations: list[tuple[str, dict[str, Any]]] = []
        self.keys: set[str] = set()
        self.requests: list[str] = []
        self.fault: Callable[[str], int | float | str | None] = lambda _: None
        self.sweep_config: dict[str, Any] = {}
        self.agent_commands: list[dict[str, Any]] = []
        self.projects = ["pwfn"]
        self.views: dict[str, dict[str, Any]] = {}  # workspaces and reports: the last variables of each, by name
        self.url = ""
        self.bytes = 0
        self.lock = threading.RLock()

    def model(self, run: str) -> Artifact:
        """Return the artifact of type model that a run has sent."""
        (found,) = [
            one
            for one in self.artifacts.values()
            if (one.about["runName"], one.about["artifactTypeName"]) == (run, "model")
        ]
        return found

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the variables that send a program here and keep W&B's files in `folder`."""
        names = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")
        more = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}
        return {**dict.fromkeys(names, str(folder)), **more, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def download(self, path: str) -> bytes:
        """Return a stored file as any client would get it."""
        with urlopen(f"{self.url}/storage/{path}", timeout=10) as answer:
            content: bytes = answer.read()
        return content

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found.group(1) if found else ""
        self.operations.append((name, variables))
        return ANSWERS[name](self, variables) if name in ANSWERS else {}

    def file_stream(self, name: str, sent: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(name, Run(name, ""))
        for file, part in (sent.get("files") or {}).items():
            lines = {part["offset"] + i: line for i, line in enumerate(part["content"])}
            if file == "wandb-history.jsonl":
                run.history |= {line: json.loads(text) for line, text in lines.items()}
            elif file == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
            elif file == "output.log":
                run.console |= lines
        run.preempting |= bool(sent.get("preempting"))
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")
        return {"exitcode": None, "limits": {}}

    def store(self, path: str, content: bytes) -> None:
        kind, key, *rest = path.split("/")
        if kind == "run":
            self.runs[key].files["/".join(rest)] = content
        elif kind == "manifest":
            self.artifacts[key].manifest = json.loads(content)
        else:
            self.artifacts[key].files["/".join(rest)] = content
