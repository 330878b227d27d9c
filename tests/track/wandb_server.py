"""A W&B server of a few lines on this machine: it speaks what the client asks (GraphQL, file stream, uploads), and keeps it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from servers import Handler, served_by

ENTITY = "house"


@dataclass
class SentRun:
    """What a server knows of one run."""

    name: str
    sent: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    produced: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        """Its settings, without wandb's own."""
        return {k: v["value"] for k, v in json.loads(self.sent.get("config") or "{}").items() if k != "_wandb"}


@dataclass
class SentArtifact:
    """An artifact: what it is called, its digest, and the files whose contents arrived."""

    name: str
    kind: str
    digest: str
    files: dict[str, bytes] = field(default_factory=dict)
    manifest: bytes = b""
    committed: bool = False


class Account:
    """The runs and artifacts of one entity; `asked` are the operations that were asked for, `unknown` those with no answer."""

    def __init__(self) -> None:
        self.runs: dict[str, SentRun] = {}
        self.artifacts: dict[str, SentArtifact] = {}
        self.views: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.unknown: list[str] = []
        self.address = ""
        self.lock = threading.RLock()

    def forget(self) -> None:
        """All that was sent."""
        self.runs, self.artifacts, self.views = {}, {}, []

    def answer(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL operation."""
        self.asked.append(name)
        known = getattr(self, f"on_{name}", None)
        if known is None:
            self.unknown.append(name)
            return {}
        return dict(known(given))

    def on_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        """Who holds the key."""
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        return {"viewer": {"id": "v", "entity": ENTITY, "username": ENTITY, "email": "a@b", "flags": "{}", "teams": teams}}

    def on_GetDefaultEntity(self, _: dict[str, Any]) -> dict[str, Any]:
        """Where runs go unless something else is said."""
        return {"viewer": {"id": "v", "entity": ENTITY}}

    def on_GetProjects(self, _: dict[str, Any]) -> dict[str, Any]:
        """The one project that runs have made."""
        project = {"__typename": "Project", "id": "p", "name": "l2v", "entityName": ENTITY, "user": None}
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        node = project | {"createdAt": "2026-01-01T00:00:00", "isBenchmark": False}
        return {"models": {"pageInfo": page, "edges": [{"node": node}]}}

    def on_ProjectInternalId(self, _: dict[str, Any]) -> dict[str, Any]:
        """Its number."""
        return {"project": {"id": "p", "internalId": "UHJvamVjdEludGVybmFsSWQ6MQ=="}}

    def on_ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        """None of the newer features."""
        return {"serverInfo": {"features": []}}

    def on_RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:
        """An earlier run of that name, if there is one."""
        run = self.runs.get(given["name"])
        project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": ENTITY}}
        return {"model": project | {"bucket": None if run is None else self._bucket(run) | _RESUMED}}

    def on_UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        """A run is made or changed."""
        inserted = given["name"] not in self.runs
        run = self.runs.setdefault(given["name"], SentRun(given["name"]))
        run.sent |= {key: value for key, value in given.items() if value is not None}
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    def _bucket(self, run: SentRun) -> dict[str, Any]:
        project = {"id": "p", "name": run.sent.get("project"), "entity": {"id": "e", "name": ENTITY}}
        shown = {"id": run.name, "name": run.name, "displayName": run.sent.get("displayName"), "config": run.sent.get("config")}
        return shown | {"project": project, "historyLineCount": len(run.history), "sweepName": None, "description": None}

    def on_CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        """Where a run's files go."""
        files = [{"name": name, "uploadUrl": f"{self.address}/put/run/{given['run']}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def on_CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        """An artifact; one of the same content is there already."""
        said = given["input"]
        name = said["artifactCollectionNames"][0] if said.get("artifactCollectionNames") else said["artifactCollectionName"]
        key = f"{said['artifactTypeName']}:{name}:{said['digest']}"
        made = self.artifacts.setdefault(key, SentArtifact(name, said["artifactTypeName"], said["digest"]))
        if said.get("runName"):  # none is named by what a run only uses
            self.runs[said["runName"]].produced.append(key)
        state = "COMMITTED" if made.committed else "PENDING"
        sequence = {"id": name, "latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": key, "state": state, "artifactSequence": sequence}}}

    def on_ArtifactType(self, given: dict[str, Any]) -> dict[str, Any]:
        """What kind an artifact is of, by its name; the client asks before it makes a new version."""
        kinds = [one.kind for one in self.artifacts.values() if one.name == given["name"].partition(":")[0]]
        return {"project": {"artifact": {"artifactType": {"name": kinds[0]}} if kinds else None}}

    def on_ArtifactByID(self, given: dict[str, Any]) -> dict[str, Any]:
        """All of an artifact, for a run that uses it."""
        made = self.artifacts[given["id"]]
        project = {"id": "p", "internalId": "p", "name": "l2v", "entity": {"name": ENTITY}}
        sequence = {"__typename": "ArtifactSequence", "name": made.name, "project": project}
        shown = {"__typename": "Artifact", "id": given["id"], "artifactSequence": sequence, "versionIndex": 0, "tags": []}
        shown |= {"artifactType": {"name": made.kind}, "digest": made.digest, "state": "COMMITTED", "size": 1, "fileCount": 1}
        shown |= {"ttlDurationSeconds": -2, "ttlIsInherited": True, "createdAt": "2026-01-01T00:00:00", "aliases": []}
        empty = ("description", "metadata", "historyStep", "commitHash", "updatedAt")
        return {"artifact": shown | dict.fromkeys(empty)}

    def on_CreateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        """Where its list of files goes."""
        file = {"id": "f", "uploadUrl": f"{self.address}/put/manifest/{given['artifactID']}", "uploadHeaders": []}
        return {
            "createArtifactManifest": {"artifactManifest": {"id": "m", "file": file if given["includeUpload"] else {"id": "f"}}}
        }

    def on_UpdateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        """The same, once more."""
        return {"updateArtifactManifest": {"artifactManifest": {"id": "m", "file": {"id": "f"}}}}

    def on_CreateArtifactFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        """Where its files go."""
        nodes = [
            {
                "storagePath": one["name"],
                "uploadUrl": f"{self.address}/put/artifact/{one['artifactID']}/{one['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": one["artifactID"]},
            }
            for one in given["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def on_CommitArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        """It is whole."""
        made = self.artifacts[given["artifactID"]]
        made.committed = True
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": made.digest}}}

    def on_UseArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        """It is an input of a run."""
        said = given["input"]
        self.runs[said["runName"]].used.append(said["artifactID"])
        return {"useArtifact": {"artifact": {"id": said["artifactID"]}}}

    def on_upsertView(self, given: dict[str, Any]) -> dict[str, Any]:
        """A saved view or a report."""
        self.views.append(given)
        project = {"id": "p", "name": given["projectName"], "entityName": given["entityName"]}
        view = {key: given.get(key) for key in ("type", "name", "displayName", "description", "spec")}
        return {"upsertView": {"view": view | {"id": f"view{len(self.views)}", "project": project}, "inserted": True}}

    on_UpsertView2 = on_upsertView

    def stream(self, name: str, said: dict[str, Any]) -> None:
        """A part of a run's file stream."""
        run = self.runs[name]
        for file, part in said.get("files", {}).items():
            lines = [json.loads(line) for line in part["content"]]
            if file == "wandb-history.jsonl":
                run.history += lines
            elif file == "wandb-summary.json":
                run.summary = lines[-1]
        if said.get("complete"):
            run.exit_code = said.get("exitcode")

    def put(self, kind: str, owner: str, name: str, data: bytes) -> None:
        """A file arrived."""
        if kind == "run":
            self.runs[owner].files[name] = data
        elif kind == "artifact":
            self.artifacts[owner].files[name] = data
        else:
            self.artifacts[owner].manifest = data


_RESUMED = {
    "summaryMetrics": "{}",
    "logLineCount": 0,
    "eventsLineCount": 0,
    "historyTail": "[]",
    "eventsTail": "[]",
    "tags": [],
}


@contextmanager
def serving() -> Iterator[Account]:
    """A server while the block runs; its address is `account.address`."""
    account = Account()

    class Hear(Handler):
        def do_POST(self) -> None:
            data = self._body()
            with account.lock:
                if self.path == "/graphql":
                    said = json.loads(data)
                    name = said.get("operationName") or said["query"].split("{")[0].split("(")[0].split()[-1]
                    self._say({"data": account.answer(name, said.get("variables") or {})})
                else:
                    # What else the client sends counts its own use.
                    if self.path.endswith("/file_stream"):
                        account.stream(self.path.split("/")[-2], json.loads(data))
                    self._say({"exitcode": None, "limits": {}})

        def do_PUT(self) -> None:
            _, _, kind, owner, *rest = self.path.split("/")
            data = self._body()
            with account.lock:
                account.put(kind, owner, "/".join(rest), data)
            self._say({})

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _say(self, what: dict[str, Any]) -> None:
            data = json.dumps(what).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with served_by(Hear) as account.address:
        yield account
