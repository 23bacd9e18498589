"""A repository with a fleet in it, and clusters that write their outcomes as the operator's outbox does."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from canary.api.canaryrun import parse_canary_run
from canary.api.rolloutplan import RolloutPlan
from canary.gitops import record
from canary.gitops.credentials import GitAuth
from canary.gitops.rings.mirror import RingMirror
from canary.sandbox.gitserver import GitServer
from tests.gitops.support import run

RINGS = ("first", "second", "third")
SIZES = {"first": 1, "second": 2, "third": 2}
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
  namespace: prod
spec:
  template:
    spec:
      containers:
      - name: sidecar
        image: ghcr.io/acme/sidecar:1.0
      - name: podinfo
        image: ghcr.io/acme/podinfo:TAG # the version
"""


def manifest(tag: str) -> str:
    return DEPLOYMENT.replace("TAG", tag)


def images(tag: str) -> dict[str, str]:
    return {"podinfo": f"ghcr.io/acme/podinfo:{tag}", "sidecar": "ghcr.io/acme/sidecar:1.0", "injected": "envoy:1"}


def fleet_file(sizes: dict[str, int] | None = None) -> str:
    return yaml.safe_dump({"clusters": {f"{ring}-{n}": {"ring": ring} for ring, size in (sizes or SIZES).items() for n in range(size)}})


def outcome(
    cluster: str, tag: str, *, result: str = "Succeeded", name: str = "", ago: float = 0.0, data: dict[str, Any] | None = None
) -> tuple[str, bytes]:
    """Path and content of a record, written by the operator's own code."""
    end = datetime.fromtimestamp(time.time() - ago, UTC)
    name = name or f"run-{tag.replace('.', '-')}-{result.lower()}"
    times = {"finishedAt": end.isoformat()}
    body = run(name, outcome=result, images=images(tag), **times)
    body["spec"]["startedAt"] = datetime.fromtimestamp(end.timestamp() - 60, UTC).isoformat()
    parsed = parse_canary_run(body)
    return record.path_of(parsed, cluster), record.encode(record.record(parsed, cluster) | (data or {}))


class Fleet:
    """The repository on a server."""

    def __init__(self, server: GitServer, folder: Path, files: dict[str, str], name: str = "fleet") -> None:
        self.server, self.name, self.folder = server, name, folder
        self.url = server.create(name, {"fleet/clusters.yaml": fleet_file(), **files})

    def mirror(self, name: str = "mirror") -> RingMirror:
        return RingMirror(self.folder / name, self.url, GitAuth())

    def release(self, tag: str, path: str = "apps/podinfo.yaml", branch: str = "main") -> str:
        return self.write({path: manifest(tag)}, message=f"release {tag}", branch=branch)

    def write(self, files: dict[str, Any], *, message: str = "x", branch: str = "main") -> str:
        return self.server.write(self.name, files, message=message, branch=branch)

    def say(self, cluster: str, tag: str, *, branch: str = "", **more: Any) -> str:
        """A cluster's own push to its own branch."""
        path, content = outcome(cluster, tag, **more)
        ring = cluster.rpartition("-")[0]
        return self.write({path: content}, message=f"record {cluster}", branch=branch or f"canary/o/{ring}/{cluster}")

    def all_say(self, ring: str, tag: str, **more: Any) -> None:
        for number in range(SIZES[ring]):
            self.say(f"{ring}-{number}", tag, **more)

    def git(self, *arguments: str) -> str:
        return self.server.git(self.name, *arguments).strip()

    def head(self, branch: str) -> str:
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")

    def show(self, path: str, branch: str = "main") -> str:
        return self.git("show", f"{branch}:{path}")


def rules(**spec: Any) -> RolloutPlan:
    from tests.rings.support import plan

    return plan(*[{"name": name, "bakeTime": "0s"} | spec.pop(name, {}) for name in RINGS], **spec)
