"""Answer the operations of GraphQL that W&B's client asks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.loggers.wandb_records import ENTITY, Artifact, Run

if TYPE_CHECKING:
    from tests.support.loggers.wandb_api import WandbServer

Answer = Callable[["WandbServer", dict[str, Any]], dict[str, Any]]
ANSWERS: dict[str, Answer] = {}  # by the operation's name


def answers(*operations: str) -> Callable[[Answer], Answer]:
    """Register what answers these GraphQL operations of a server, from their variables."""

    def register(method: Answer) -> Answer:
        ANSWERS.update(dict.fromkeys(operations, method))
        return method

    return register


@answers("Viewer", "GetDefaultEntity")
def _viewer(server: WandbServer, _: dict[str, Any]) -> dict[str, Any]:
    teams = {"edges": [{"node": {"name": ENTITY, "id": "team"}}]}
    viewer = {"id": "user", "entity": ENTITY, "username": "user", "flags": "{}", "email": "", "teams": teams}
    return {"viewer": viewer | {"admin": False, "name": "user", "apiKeys": {"edges": []}}, "serverInfo": {}}


@answers("ServerFeaturesQuery")
def _server_features_query(server: WandbServer, _: dict[str, Any]) -> dict[str, Any]:
    return {"serverInfo": {"features": []}}


@answers("RunResumeStatus")
def _run_resume_status(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    run = server.runs.get(given["name"])
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
def _upsert_bucket(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    name = given.get("name") or given["id"]
    inserted = name not in server.runs
    run = server.runs.setdefault(name, Run(name, given.get("project") or ""))
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
def _create_run_files(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    base = f"{server.url}/storage/run/{given['run']}"
    files = [{"name": name, "uploadUrl": f"{base}/{name}"} for name in given["files"]]
    return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}


@answers("ArtifactType")
def _artifact_type(server: WandbServer, _: dict[str, Any]) -> dict[str, Any]:
    return {"project": None}


@answers("RunStoppedStatus")
def _run_stopped_status(server: WandbServer, _: dict[str, Any]) -> dict[str, Any]:
    return {"project": {"run": {"stopped": False}}}


@answers("CreateArtifact")
def _create_artifact(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    about = given["input"]
    key = f"artifact{len(server.artifacts)}"
    server.artifacts[key] = Artifact(key, about)
    sequence = {"id": f"s{key}", "name": about.get("artifactCollectionName"), "latestArtifact": None}
    made = {"id": key, "state": "PENDING", "artifactSequence": sequence, "versionIndex": 0}
    return {"createArtifact": {"artifact": made}}


@answers("CreateArtifactManifest", "UpdateArtifactManifest")
def _manifest(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    key = given.get("artifactManifestID") or given["artifactID"]  # one manifest an artifact, under the same id
    url = f"{server.url}/storage/manifest/{key}"
    file = {"id": key, "name": "m", "displayName": "m", "uploadHeaders": [], "uploadUrl": url}
    answer = {"artifactManifest": {"id": key, "file": file}}
    return {"createArtifactManifest": answer, "updateArtifactManifest": answer}


@answers("CreateArtifactFiles")
def _create_artifact_files(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    edges = []
    for one in given["input"]["artifactFiles"]:
        key = one["artifactID"]
        node = {
            "id": f"{key}/{one['name']}",
            "name": one["name"],
            "displayName": one["name"],
            "uploadUrl": f"{server.url}/storage/artifact/{key}/{one['name']}",
            "uploadHeaders": [],
            "artifact": {"id": key},
            "storagePath": None,
            "uploadMultipartUrls": None,
        }
        edges.append({"node": node})
    return {"createArtifactFiles": {"files": {"edges": edges, "pageInfo": {"hasNextPage": False}}}}


@answers("CommitArtifact")
def _commit_artifact(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    server.artifacts[given["artifactID"]].committed = True
    return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": ""}}}


@answers("SweepWithRuns")
def _sweep_with_runs(server: WandbServer, _: dict[str, Any]) -> dict[str, Any]:
    return {"project": {"sweep": {"config": json.dumps(server.sweep_config), "runs": {"edges": []}}}}


@answers("CreateAgent")
def _create_agent(server: WandbServer, _: dict[str, Any]) -> dict[str, Any]:
    return {"createAgent": {"agent": {"id": "agent"}}}


@answers("Heartbeat")
def _heartbeat(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    """Hand out the next command once no run is going on, and let the agent go after the last."""
    commands: list[dict[str, Any]] = []
    if not json.loads(given["runState"]):
        commands = [server.agent_commands.pop(0) if server.agent_commands else {"type": "exit"}]
    return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}


@answers("ArtifactByID")
def _artifact_by_id(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    one = server.artifacts[given["id"]]
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
def _project_internal_id(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    found = given["projectName"] in server.projects
    return {"project": {"id": "p", "internalId": "1"} if found else None}


@answers("GetProjects")
def _get_projects(server: WandbServer, _: dict[str, Any]) -> dict[str, Any]:
    about = {
        "id": "p",
        "entityName": ENTITY,
        "createdAt": "2000-01-01T00:00:00",
        "isBenchmark": False,
        "user": None,
    }
    edges = [{"node": {**about, "name": name}} for name in server.projects]
    return {"models": {"edges": edges, "pageInfo": {"hasNextPage": False, "endCursor": None}}}


@answers("UpsertView2", "upsertView")
def _upsert_view(server: WandbServer, given: dict[str, Any]) -> dict[str, Any]:
    server.views[given["name"]] = given
    project = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
    kept = {key: given[key] for key in ("name", "displayName", "description", "spec")}
    return {"upsertView": {"view": {"id": f"v{len(server.views)}", "project": project, **kept}, "inserted": True}}
