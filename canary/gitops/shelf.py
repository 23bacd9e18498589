"""The records of one cluster's canaries, where they lie: on which branch or in which ref, what is there, what is added, what has become too many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from canary.api.canaryrun import CanaryRun, RunPhase
from canary.api.gitsink import GitSink
from canary.gitops import record
from canary.gitops.git import Mirror, Ref, Tip
from canary.gitops.reading import TreeEntry


@dataclass(frozen=True, slots=True)
class Shelves:
    """The files of some folders at one tip of the branch."""

    tip: str = ""
    entries: Mapping[str, TreeEntry] = field(default_factory=dict)

    @property
    def paths(self) -> Collection[str]:
        """What is there."""
        return self.entries.keys()


def place(sink: GitSink) -> str:
    """Where this cluster's records go: a branch, or a Ref."""
    return Ref(sink.spec.records_ref) if sink.spec.records_ref else sink.spec.records.branch


async def read(mirror: Mirror, tip: Tip | None, folders: Collection[str]) -> Shelves:
    """The files of these folders; none without a branch."""
    if tip is None or not folders:
        return Shelves()
    return Shelves(tip.oid, {entry.path: entry for entry in await mirror.files(tip.oid, *sorted(folders))})


async def edits(mirror: Mirror, shelves: Shelves, runs: Sequence[CanaryRun], sink: GitSink) -> dict[str, bytes | None]:
    """New records, pointers that move forward, and removals beyond the newest `keep` of each canary."""
    cluster, keep = sink.spec.cluster, sink.spec.records.keep
    added: dict[str, dict[str, CanaryRun]] = defaultdict(dict)
    for run in runs:
        added[record.folder_of(run, cluster)][record.path_of(run, cluster)] = run
    known = await _known(mirror, shelves, {folder: keep - len(new) for folder, new in added.items()})
    changes: dict[str, bytes | None] = {}
    for folder, new in added.items():
        records = {path: record.record(run, cluster) | _answered(run, sink) for path, run in new.items()}
        for path in _surplus({path: data for path, data in known.items() if path.startswith(f"{folder}/")} | records, keep):
            if path not in records:
                changes[path] = None
        changes |= {path: record.encode(data) for path, data in records.items()}
        newest = max((run for run in new.values() if run.status.phase is RunPhase.SUCCEEDED), key=_ended, default=None)
        pointer = f"{folder}/{record.POINTER}"
        if newest is not None:
            data = record.promoted(newest, cluster)
            if _finished(known.get(pointer, {})) <= _finished(data):
                changes[pointer] = record.encode(data)
    return changes


async def contents(mirror: Mirror, shelves: Shelves, paths: Collection[str]) -> dict[str, dict[str, Any]]:
    """The records at these paths; without those that are not there."""
    there = {path: shelves.entries[path].oid for path in paths if path in shelves.entries}
    blobs, _ = await mirror.blobs(shelves.tip, list(there.values()), max_bytes=2 * record.MAX_BYTES)
    return {path: record.decode(blobs[oid]) for path, oid in there.items() if oid in blobs}


def _answered(run: CanaryRun, sink: GitSink) -> dict[str, Any]:
    """A record that had to wait may be written after the revert of its run."""
    found = record.answer(run, sink.metadata.name)
    return {record.EFFECTS: found} if found else {}


async def _known(mirror: Mirror, shelves: Shelves, room: Mapping[str, int]) -> dict[str, dict[str, object]]:
    """Contents of pointers, and of the records in folders that have more files than there is `room` for."""
    inside: dict[str, list[TreeEntry]] = defaultdict(list)
    for entry in shelves.entries.values():
        folder, _, name = entry.path.rpartition("/")
        if folder in room and name.endswith(".json"):
            inside[folder].append(entry)
    wanted = [
        entry
        for folder, entries in inside.items()
        for entry in entries
        if entry.path.endswith(f"/{record.POINTER}") or len(entries) > room[folder]
    ]
    blobs, _ = await mirror.blobs(shelves.tip, [entry.oid for entry in wanted], max_bytes=2 * record.MAX_BYTES)
    return {entry.path: record.decode(blobs[entry.oid]) for entry in wanted if entry.oid in blobs}


def _surplus(records: Mapping[str, Mapping[str, object]], keep: int) -> list[str]:
    """The oldest records beyond `keep`. What does not say that it is the record of its path is somebody else's, and stays."""
    ours = [path for path, data in records.items() if data.get("runId") == path.rpartition("/")[2].removesuffix(".json")]
    return sorted(ours, key=lambda path: _finished(records[path]))[: max(0, len(ours) - keep)]


def _finished(data: Mapping[str, object]) -> str:
    """Times are written alike, so they compare as texts."""
    return str(data.get("finishedAt") or "")


def _ended(run: CanaryRun) -> float:
    return (run.status.finished_at or run.spec.started_at).timestamp()
