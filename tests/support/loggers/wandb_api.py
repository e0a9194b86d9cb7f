"""Answer what W&B's client asks of a server, and keep all that it sends.

It knows what wandb 0.31 asks for: the operations of GraphQL, the stream of a run's rows, and stored files.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

KEY = "0123456789abcdef" * 2 + "deadbeef"  # 40 characters, as W&B wants them
ENTITY = "stub-team"

Answer = Callable[["WandbServer", dict[str, Any]], dict[str, Any]]
ANSWERS: dict[str, Answer] = {}  # by the operation's name


def answers(*operations: str) -> Callable[[Answer], Answer]:
    """Register a method as what answers these GraphQL operations, from their variables."""

    def register(method: Answer) -> Answer:
        ANSWERS.update(dict.fromkeys(operations, method))
        return method

    return register


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
        return ANSWERS[name](self, variables) if name in ANSWERS else {}

    @answers("Viewer", "GetDefaultEntity")
    def _viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": [{"node": {"name": ENTITY, "id": "team"}}]}
        viewer = {"id": "user", "entity": ENTITY, "username": "user", "flags": "{}", "email": "", "teams": teams}
        return {"viewer": viewer | {"admin": False, "name": "user", "apiKeys": {"edges": []}}, "serverInfo": {}}

    @answers("ServerFeaturesQuery")
    def _server_features_query(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    @answers("RunResumeStatus")
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

    @answers("UpsertBucket")
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

    @answers("CreateRunFiles")
    def _create_run_files(self, given: dict[str, Any]) -> dict[str, Any]:
        base = f"{self.url}/storage/run/{given['run']}"
        files = [{"name": name, "uploadUrl": f"{base}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    @answers("ArtifactType")
    def _artifact_type(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": None}

    @answers("RunStoppedStatus")
    def _run_stopped_status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    @answers("CreateArtifact")
    def _create_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        about = given["input"]
        key = f"artifact{len(self.artifacts)}"
        self.artifacts[key] = Artifact(key, about)
        sequence = {"id": f"s{key}", "name": about.get("artifactCollectionName"), "latestArtifact": None}
        made = {"id": key, "state": "PENDING", "artifactSequence": sequence, "versionIndex": 0}
        return {"createArtifact": {"artifact": made}}

    @answers("CreateArtifactManifest", "UpdateArtifactManifest")
    def _manifest(self, given: dict[str, Any]) -> dict[str, Any]:
        key = given.get("artifactManifestID") or given["artifactID"]  # one manifest an artifact, under the same id
        url = f"{self.url}/storage/manifest/{key}"
        file = {"id": key, "name": "m", "displayName": "m", "uploadHeaders": [], "uploadUrl": url}
        answer = {"artifactManifest": {"id": key, "file": file}}
        return {"createArtifactManifest": answer, "updateArtifactManifest": answer}

    @answers("CreateArtifactFiles")
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

    @answers("CommitArtifact")
    def _commit_artifact(self, given: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[given["artifactID"]].committed = True
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": ""}}}

    @answers("SweepWithRuns")
    def _sweep_with_runs(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"sweep": {"config": json.dumps(self.sweep_config), "runs": {"edges": []}}}}

    @answers("CreateAgent")
    def _create_agent(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": "agent"}}}

    @answers("Heartbeat")
    def _heartbeat(self, given: dict[str, Any]) -> dict[str, Any]:
        """Hand out the next command once no run is going on, and let the agent go after the last."""
        commands: list[dict[str, Any]] = []
        if not json.loads(given["runState"]):
            commands = [self.agent_commands.pop(0) if self.agent_commands else {"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}

    @answers("ArtifactByID")
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

    @answers("ProjectInternalId")
    def _project_internal_id(self, given: dict[str, Any]) -> dict[str, Any]:
        found = given["projectName"] in self.projects
        return {"project": {"id": "p", "internalId": "1"} if found else None}

    @answers("GetProjects")
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

    @answers("UpsertView2", "upsertView")
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


def digest(content: bytes) -> str:
    """Return the checksum that W&B's manifests have."""
    return b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
