"""The two effects of the first slice, as idempotent acts on a mirror: write the record, revert the image.

Each looks before it acts (is the record there? is there a commit with this run's trailer?), so a crash after the push and before the note of it
gives one commit, not two. The caller holds the mirror's lock.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from canary.api.canaryrun import CanaryRun, EffectState, RunPhase
from canary.api.gitsink import GitSink
from canary.gitops import message, record, revert
from canary.gitops.failures import Failure, GitFailed, Reaction
from canary.gitops.git import Author, Mirror, TreeEntry

TRIES = 8
"""How often an effect is computed anew on a tip that moved, before it backs off."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an effect: `state` Done (with the commit), Skipped or Blocked (with the reason)."""

    state: EffectState
    ref: str = ""
    reason: str = ""
    text: str = ""
    pushed_branch: str = ""


async def write_record(mirror: Mirror, sink: GitSink, run: CanaryRun) -> Done:
    """The record and, on success, the pointer to it. Raises GitFailed."""
    branch, cluster = sink.spec.records.branch, sink.spec.cluster
    folder = record.folder_of(run, cluster)
    path = f"{folder}/{run.metadata.name}.json"
    for _ in range(TRIES):
        tip = await mirror.fetch(branch)
        files = await mirror.files(tip) if tip else []
        if tip and any(entry.path == path for entry in files):
            found = await mirror.find_trailer(tip, message.RUN_TRAILER, run.metadata.name)
            return Done(EffectState.DONE, found or tip)
        edits: dict[str, bytes | None] = {path: record.encode(record.record(run, cluster))}
        if run.status.phase is RunPhase.SUCCEEDED:
            edits[f"{folder}/promoted.json"] = record.encode(record.promoted(run, cluster))
        edits |= dict.fromkeys(await _too_old(mirror, files, folder, keep=sink.spec.records.keep - 1))
        new = await mirror.commit(tip, edits, message=message.record_message(run, cluster), author=_author(sink))
        assert new is not None  # the path is new, so the tree differs
        if await _pushed(mirror, branch, new, tip):
            return Done(EffectState.DONE, new, pushed_branch=branch)
    raise GitFailed(Failure("Stale", Reaction.BACK_OFF, f"{branch} moved {TRIES} times while a record was written"))


async def revert_image(mirror: Mirror, sink: GitSink, run: CanaryRun) -> Done:
    """The image back in the plain manifest, in a commit of its own. Raises GitFailed."""
    branch, limits = sink.spec.repository.branch, sink.spec.limits
    for _ in range(TRIES):
        tip = await mirror.fetch(branch)
        if tip is None:
            return Done(EffectState.BLOCKED, reason="NoBranch", text=f"the repository has no branch {branch}")
        if found := await mirror.find_trailer(tip, message.RUN_TRAILER, run.metadata.name):
            return Done(EffectState.DONE, found)
        plan = await _plan(mirror, sink, run, tip)
        if plan.verdict is not revert.Verdict.EDIT:
            final = plan.verdict in {revert.Verdict.ALREADY_REVERTED, revert.Verdict.SUPERSEDED}
            return Done(EffectState.SKIPPED if final else EffectState.BLOCKED, reason=plan.verdict, text=plan.explanation)
        text = message.revert_message(run, sink.spec.cluster, list(plan.changes))
        edits: dict[str, bytes | None] = dict(plan.edits)
        new = await mirror.commit(tip, edits, message=text, author=_author(sink))
        if new is None:
            return Done(EffectState.SKIPPED, reason=revert.Verdict.ALREADY_REVERTED)
        if await _pushed(mirror, branch, new, tip):
            return Done(EffectState.DONE, new, pushed_branch=branch)
    raise GitFailed(Failure("Stale", Reaction.BACK_OFF, f"{branch} moved {TRIES} times while a revert was written; limits {limits.max_files}"))


async def _plan(mirror: Mirror, sink: GitSink, run: CanaryRun, tip: str) -> revert.Plan:
    limits = sink.spec.limits
    files = {entry.path: entry for entry in await mirror.files(tip)}
    wanted = revert.candidates(list(files), allowed=limits.allowed_paths)
    blobs = await mirror.blobs([files[path].oid for path in wanted], max_bytes=limits.max_bytes)
    contents = {path: blobs[files[path].oid] for path in wanted if files[path].oid in blobs}
    workload = revert.Workload(
        kind=run.spec.target.kind,
        namespace=run.metadata.namespace,
        name=run.spec.target.name,
        failed=run.spec.release.images,
        previous=run.spec.previous.images if run.spec.previous else {},
    )
    return revert.plan(contents, workload, max_files=limits.max_files)


async def _pushed(mirror: Mirror, branch: str, new: str, tip: str | None) -> bool:
    """False when somebody was faster: compute it again on what is there now."""
    try:
        await mirror.push(branch, new, expected=tip)
    except GitFailed as error:
        if error.failure.reaction is Reaction.RECOMPUTE:
            return False
        raise
    return True


async def _too_old(mirror: Mirror, files: list[TreeEntry], folder: str, *, keep: int) -> list[str]:
    """Records of this canary beyond the newest `keep`, by the time they say that they finished."""
    mine = [entry for entry in files if entry.path.rpartition("/")[0] == folder and not entry.path.endswith("/promoted.json")]
    if len(mine) <= keep:
        return []
    blobs = await mirror.blobs([entry.oid for entry in mine], max_bytes=4 * record.MAX_BYTES)

    def finished(entry: TreeEntry) -> str:
        try:
            return str(json.loads(blobs[entry.oid]).get("finishedAt"))
        except (KeyError, ValueError, AttributeError):
            return ""  # not one of ours, or damaged: the first to go

    return [entry.path for entry in sorted(mine, key=finished)[: len(mine) - keep]]


def _author(sink: GitSink) -> Author:
    return Author(sink.spec.identity.name, sink.spec.identity.email)
