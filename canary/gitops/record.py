"""The record of one run: what was tried, what was measured, how it ended. JSON, sorted, at most 32 KiB, no secrets.

It goes to a branch of its own: a commit on the branch that a cluster is delivered from would make every Kustomization run again.
"""

from __future__ import annotations

import json
from typing import Any

from canary import __version__
from canary.api.canaryrun import CanaryRun, ReleaseInfo

SCHEMA = 1
MAX_BYTES = 32 * 1024


def folder_of(run: CanaryRun, cluster: str) -> str:
    """Where the records of this canary are."""
    return f"{cluster}/{run.metadata.namespace}/{run.spec.canary_ref.name}"


def record(run: CanaryRun, cluster: str) -> dict[str, Any]:
    """The record as data (schema 1)."""
    spec, status = run.spec, run.status
    return {
        "schema": SCHEMA,
        "runId": run.metadata.name,
        "cluster": cluster,
        "namespace": run.metadata.namespace,
        "name": spec.canary_ref.name,
        "target": {"kind": spec.target.kind, "name": spec.target.name},
        "outcome": status.outcome,
        "reason": status.reason,
        "startedAt": _time(spec.started_at),
        "finishedAt": _time(status.finished_at),
        "strategy": spec.strategy,
        "maxWeightReached": status.max_weight_reached,
        "failedChecks": status.failed_checks,
        "release": _release(spec.release),
        "previous": _release(spec.previous) if spec.previous else None,
        "checks": [check.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"query"}) for check in status.checks],
        "controller": __version__,
    }


def encode(data: dict[str, Any]) -> bytes:
    """Sorted and indented, so that a person can read a diff of it; evidence is cut before the limit is passed."""
    while len(text := json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n") > MAX_BYTES and data.get("checks"):
        data = {**data, "checks": data["checks"][:-1], "truncated": True}
    return text


def promoted(run: CanaryRun, cluster: str) -> dict[str, Any]:
    """The pointer to the last success, from which a rebuilt cluster can tell what was ever promoted."""
    full = record(run, cluster)
    return {key: full[key] for key in ("schema", "runId", "cluster", "namespace", "name", "finishedAt", "release")}


def _release(info: ReleaseInfo) -> dict[str, Any]:
    return {"images": dict(info.images), "templateHash": info.template_hash, "configHash": info.config_hash}


def _time(value: Any) -> str | None:
    return value.isoformat().replace("+00:00", "Z") if value else None
