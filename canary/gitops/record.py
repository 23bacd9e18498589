"""The record of one run: what was tried, what was measured tick by tick, how it ended. JSON, sorted, at most 32 KiB, no secrets.

It goes to a branch of its own: a commit on the branch that a cluster is delivered from would make every Kustomization run again.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from canary import __version__
from canary.api.canaryrun import CanaryRun, CheckEvidence, EffectState, ReleaseInfo, SourceInfo
from canary.api.status import BaselineStatus, RunRow
from canary.core.evidence import thinned
from canary.gitops import wanted
from canary.gitops.failures import plain, scrub
from canary.gitops.message import clean

SCHEMA = 1
MAX_BYTES = 32 * 1024
MAX_HISTORY = 10 * 1024
"""Bytes of rows as the API has them, which are some 22 KiB here: about 130 ticks of two checks. Longer runs are thinned, by the same rule as there."""
MAX_REASON = 2000
POINTER = "promoted.json"
EFFECTS = "effects"
"""What was done in Git because of the run; not there before that, because a null would say that nothing will be."""
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def folder_of(run: CanaryRun, cluster: str) -> str:
    """Where the records of this canary are. ValueError when its name is none, so that no path is built from it."""
    for name in (run.metadata.namespace, run.spec.canary_ref.name, run.metadata.name):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{plain(name)[:80]!r} is not a name of an object")
    return f"{cluster}/{run.metadata.namespace}/{run.spec.canary_ref.name}"


def path_of(run: CanaryRun, cluster: str) -> str:
    """The file of this record. ValueError as `folder_of`."""
    return f"{folder_of(run, cluster)}/{run.metadata.name}.json"


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
        "reason": clean(status.reason, limit=MAX_REASON),
        "startedAt": _time(spec.started_at),
        "finishedAt": _time(status.finished_at),
        "strategy": spec.strategy,
        "maxWeightReached": status.max_weight_reached,
        "failedChecks": status.failed_checks,
        "release": _release(spec.release),
        "previous": _release(spec.previous) if spec.previous else None,
        **({"source": _source(run.source)} if run.source else {}),
        **({"baseline": _baseline(status.baseline)} if status.baseline else {}),
        "checks": [_check(check) for check in status.checks],
        "history": [_row(row, spec.started_at) for row in thinned(status.history, MAX_HISTORY)],
        "controller": __version__,
    }


def answer(run: CanaryRun, sink: str) -> dict[str, str]:
    """What this sink has done because of the run, as far as it is known: `revertCommit`, or `pullRequest` (its URL) where people have merged one."""
    names = {f"{kind}/{sink}" for kind in (wanted.REVERT, wanted.PROPOSAL)}
    ref = next((one.ref for one in run.status.effects if one.name in names and one.state is EffectState.DONE), "")
    if _COMMIT.fullmatch(ref):
        return {"revertCommit": ref}
    return {"pullRequest": clean(scrub(ref), limit=MAX_REASON)} if ref.startswith(("https://", "http://")) else {}


def encode(data: dict[str, Any]) -> bytes:
    """Sorted and indented, so that a person can read a diff of it. What is too large loses queries, then ticks, then checks, then images."""
    text = _json(data)
    if len(text) > MAX_BYTES and data.get("checks"):
        data = {**data, "truncated": True, "checks": [{key: check[key] for key in check.keys() - {"query"}} for check in data["checks"]]}
    while len(text := _json(data)) > MAX_BYTES and len(rows := data.get("history") or []) > 2:
        data = {**data, "truncated": True, "history": [rows[0], *rows[2:-1:2], rows[-1]]}
    while len(text := _json(data)) > MAX_BYTES and data.get("checks"):
        data = {**data, "checks": data["checks"][: len(data["checks"]) // 2]}
    if len(text) > MAX_BYTES:
        kept = {key: value for key, value in data.items() if key not in {"release", "previous", "target"}}
        text = _json({**kept, "truncated": True})
    return text


def promoted(run: CanaryRun, cluster: str) -> dict[str, Any]:
    """The pointer to the last success, from which a rebuilt cluster can tell what was ever promoted."""
    full = record(run, cluster)
    return {key: full[key] for key in ("schema", "runId", "cluster", "namespace", "name", "finishedAt", "release")}


def decode(content: bytes) -> dict[str, Any]:
    """A record or a pointer; empty when it is neither."""
    try:
        data = json.loads(content)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _json(data: dict[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False).encode(errors="replace") + b"\n"


def _check(check: CheckEvidence) -> dict[str, Any]:
    """One check, with its query: a verdict that cannot be asked again explains nothing."""
    data = check.model_dump(mode="json", by_alias=True, exclude_none=True)
    return data | ({"query": scrub(check.query)} if check.query else {})


def _row(row: RunRow, started: datetime) -> dict[str, Any]:
    """One tick, with its time in full. What hooks answered is text from outside."""
    data = row.to_dict()
    at = data.pop("at", None)
    if row.gates:
        data["gates"] = [scrub(text) for text in row.gates]
    return data | ({"time": _time(started + timedelta(seconds=at))} if at is not None else {})


def _release(info: ReleaseInfo) -> dict[str, Any]:
    return {"images": dict(info.images), "templateHash": info.template_hash, "configHash": info.config_hash}


def _baseline(info: BaselineStatus) -> dict[str, Any]:
    """What the new version was compared with, where a fresh copy of the old one was asked for. Why there is none is text from outside."""
    return {"compared": info.compared, **({"reason": clean(scrub(info.reason), limit=MAX_REASON)} if info.reason else {})}


def _source(info: SourceInfo) -> dict[str, Any]:
    """The commit that started the run. A URL may hold a password, and whoever delivers the workload chose it."""
    found = {
        "revision": clean(info.revision),
        "repository": clean(scrub(info.repository), limit=MAX_REASON),
        "path": clean(info.path, limit=MAX_REASON),
        "via": clean(info.via),
        "confidence": info.confidence.value,
    }
    return {key: value for key, value in found.items() if value}


def _time(value: datetime | None) -> str | None:
    """In UTC and always with milliseconds, so that times compare as texts."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if value else None
