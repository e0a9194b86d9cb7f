"""Stand in for a W&B server on this machine: enough of its API for whole runs, and a record of all that arrives.

It speaks what wandb 0.31 asks of a server: POST /graphql, POST /files/<entity>/<project>/<run>/file_stream, and PUT and
GET of files at the addresses that it gives out itself. It listens on 127.0.0.1 alone, keeps at most `MOST_BYTES` and
ends with its block.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import pytest
import wandb

KEY = "0123456789abcdef" * 2 + "deadbeef"  # 40 characters, as W&B wants them
ENTITY = "stub-team"
MOST_BYTES = 64 * 2**20
SECONDS = 300  # after which it answers nobody

ANSWERS = {
    "Viewer": "_viewer",
    "ServerFeaturesQuery": "_server_features_query",
    "RunResumeStatus": "_run_resume_status",
    "UpsertBucket": "_upsert_bucket",
    "CreateRunFiles": "_create_run_files",
    "ArtifactType": "_artifact_type",
    "RunStoppedStatus": "_run_stopped_status",
    "CreateArtifact": "_create_artifact",
    "CreateArtifactManifest": "_create_artifact_manifest",
    "UpdateArtifactManifest": "_update_artifact_manifest",
    "CreateArtifactFiles": "_create_artifact_files",
    "CommitArtifact": "_commit_artifact",
    "SweepWithRuns": "_sweep_with_runs",
    "CreateAgent": "_create_agent",
    "Heartbeat": "_heartbeat",
    "GetDefaultEntity": "_viewer",
    "ArtifactByID": "_artifact_by_id",
    "ProjectInternalId": "_project_internal_id",
    "GetProjects": "_get_projects",
    "UpsertView2": "_upsert_view",
    "upsertView": "_upsert_view",
}


@dataclass
class Run:
    """Hold what the server knows of one run."""

    name: str
    project: str
    config: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)  # the last value of each variable of UpsertBucket
    history: dict[int, dict[str, Any]] = field(default_factory=dict)  # by line
    summary: dict[str, Any] = field(default_factory=dict)
    console: dict[int, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    preempting: bool = False
    starts: int = 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self.history[line] for line in sorted(self.history)]

    @property
    def values(self) -> dict[str, Any]:
        """The config as a user sees it."""
        return {key: item["value"] for key, item in self.config.items() if key != "_wandb"}


@dataclass
class Artifact:
    """Hold what the server knows of one artifact; `files` are by their names in it."""

    key: str
    about: dict[str, Any]
    manifest: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    committed: bool = False


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

    # the API

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found.group(1) if found else ""
        self.operations.append((name, variables))
        answer = getattr(self, ANSWERS.get(name, ""), None)
        return answer(variables) if answer else {}

    def _viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": [{"node": {"name": ENTITY, "id": "team"}}]}
        viewer = {"id": "user", "entity": ENTITY, "username": "user", "flags": "{}", "email": "", "teams": teams}
        return {"viewer": viewer | {"admin": False, "name": "user", "apiKeys": {"edges": []}}, "serverInfo": {}}

    def _server_features_query(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _run_resume_status(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(given["name"])
        if run is None:
            return {"model": None}
        rows = run.rows
        bucket = {
            "id": run.name,
            "name": run.name,
            "displayName": run.about.get("displayName"),
            "summaryMetrics": json.dumps(run.summary),
            "config": json.dumps(run.config),
            "historyLineCount": len(rows),
            "eventsLineCount": 0,
            "logLineCount": len(run.console),
            "historyTail": json.dumps([json.dumps(rows[-1])] if rows else []),
            "eventsTail": "[]",
            "tags": run.about.get("tags") or [],
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {"id": "m", "name": run.project, "entity": {"id": "e", "name": ENTITY}, "bucket": bucket}}

    def _upsert_bucket(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given.get("name") or given["id"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, Run(name, given.get("project") or ""))
        run.about |= {key: value for key, value in given.items() if value is not None}
        if given.get("config"):
            run.config |= json.loads(given["config"])
        if given.get("displayName") or inserted:
            run.starts += 1
        project = {"id": "p", "name": run.project, "entity": {"id": "e", "name": ENTITY}}
        bucket = {
            "id": name,
            "name": name,
            "displayName": run.about.get("displayName") or name,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": run.about.get("sweep"),
            "project": project,
            "historyLineCount": len(run.history),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _create_run_files(self, given: dict[str, Any]) -> dict[str, Any]:
        base = f"{self.url}/storage/run/{given['run']}"
        files = [{"name": name, "uploadUrl": f"{base}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def _artifact_type(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    def _run_stopped_status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    def _create_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        about = given["input"]
        key = f"artifact{len(self.artifacts)}"
        self.artifacts[key] = Artifact(key, about)
        sequence = {"id": f"s{key}", "name": about.get("artifactCollectionName"), "latestArtifact": None}
        made = {"id": key, "state": "PENDING", "artifactSequence": sequence, "versionIndex": 0}
        return {"createArtifact": {"artifact": made}}

    def _create_artifact_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"createArtifactManifest": {"artifactManifest": self._manifest(given["artifactID"])}}

    def _update_artifact_manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"updateArtifactManifest": {"artifactManifest": self._manifest(given["artifactManifestID"])}}

    def _manifest(self, key: str) -> dict[str, Any]:
        file = {"id": key, "name": "m", "displayName": "m", "uploadHeaders": []}
        return {"id": key, "file": file | {"uploadUrl": f"{self.url}/storage/manifest/{key}"}}

    def _create_artifact_files(self, given: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for one in given["input"]["artifactFiles"]:
            key = one["artifactID"]
            node = {
                "id": f"{key}/{one['name']}",
                "name": one["name"],
                "displayName": one["name"],
                "uploadUrl": f"{self.url}/storage/artifact/{key}/{one['name']}",
                "uploadHeaders": [],
                "artifact": {"id": key},
                "storagePath": None,
                "uploadMultipartUrls": None,
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges, "pageInfo": {"hasNextPage": False}}}}

    def _commit_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[given["artifactID"]].committed = True
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": ""}}}

    def _sweep_with_runs(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"sweep": {"config": json.dumps(self.sweep_config), "runs": {"edges": []}}}}

    def _create_agent(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": "agent"}}}

    def _heartbeat(self, given: dict[str, Any]) -> dict[str, Any]:
        """Hand out the next command once no run is going on, and let the agent go after the last."""
        commands: list[dict[str, Any]] = []
        if not json.loads(given["runState"]):
            commands = [self.agent_commands.pop(0) if self.agent_commands else {"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}

    def _artifact_by_id(self, given: dict[str, Any]) -> dict[str, Any]:
        one = self.artifacts[given["id"]]
        project = {"id": "p", "internalId": "p", "name": one.about["projectName"], "entity": {"name": ENTITY}}
        found = {
            "id": one.key,
            "artifactSequence": {"name": one.about["artifactCollectionName"], "project": project},
            "versionIndex": 0,
            "artifactType": {"name": one.about["artifactTypeName"]},
            "description": None,
            "metadata": one.about["metadata"],
            "ttlDurationSeconds": -1,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": 0,
            "state": "COMMITTED",
            "size": 0,
            "digest": one.about["digest"],
            "commitHash": "0",
            "fileCount": len(one.files),
            "createdAt": "2000-01-01T00:00:00",
            "updatedAt": None,
        }
        return {"artifact": found}

    def _project_internal_id(self, given: dict[str, Any]) -> dict[str, Any]:
        found = given["projectName"] in self.projects
        return {"project": {"id": "p", "internalId": "1"} if found else None}

    def _get_projects(self, _: dict[str, Any]) -> dict[str, Any]:
        about = {
            "id": "p",
            "entityName": ENTITY,
            "createdAt": "2000-01-01T00:00:00",
            "isBenchmark": False,
            "user": None,
        }
        edges = [{"node": {**about, "name": name}} for name in self.projects]
        return {"models": {"edges": edges, "pageInfo": {"hasNextPage": False, "endCursor": None}}}

    def _upsert_view(self, given: dict[str, Any]) -> dict[str, Any]:
        self.views[given["name"]] = given
        project = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
        kept = {key: given[key] for key in ("name", "displayName", "description", "spec")}
        return {"upsertView": {"view": {"id": f"v{len(self.views)}", "project": project, **kept}, "inserted": True}}

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

        def do_POST(self) -> None:
            body, path = self._body(), urlsplit(self.path).path
            with server.lock:
                server.requests.append(path)
                server.keys.add(self.headers.get("Authorization", ""))
                server.bytes += len(body)
            if self._fails(path):
                return
            if server.bytes > MOST_BYTES:
                self._answer(507)
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            sent = json.loads(body or b"{}")
            with server.lock:
                if path == "/graphql":
                    answer = {"data": server.graphql(sent["query"], sent.get("variables") or {})}
                elif path.endswith("/file_stream"):
                    answer = server.file_stream(path.split("/")[-2], sent)
                else:
                    answer = {}
            self._answer(200, json.dumps(answer).encode())

        def do_PUT(self) -> None:
            body, path = self._body(), unquote(urlsplit(self.path).path)
            with server.lock:
                server.requests.append(path)
                server.bytes += len(body)
            if self._fails(path):
                return
            if server.bytes > MOST_BYTES:
                self._answer(507)
                return
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


def digest(content: bytes) -> str:
    """Return the checksum that W&B's manifests have."""
    return b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


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
