"""What is written because of runs, as idempotent acts on a mirror: records, and reverts of images.

Each looks before it acts: is the record there? is there a commit that says it did this? So a crash after the push and before the note of it
gives one commit, not two. Many runs are written with one push (records in one commit, reverts in a commit each), so that a bad configuration that
fails five hundred releases at once costs ten pushes and not a thousand. The caller lets nobody else use the mirror meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from canary.api.canaryrun import CanaryRun, EffectState, SourceInfo
from canary.api.gitsink import GitSink
from canary.gitops import breaker, message, record, revert, shelf, sites
from canary.gitops.failures import Failure, GitFailed, Reaction
from canary.gitops.gathering import gather
from canary.gitops.git import Draft, Mirror, Tip
from canary.gitops.signing import Author

TRIES = 8
"""How often a write is computed anew on a tip that moved, before it backs off."""


Pasts = Mapping[str, breaker.Past]
"""What may stand against the reverts of runs, by their names."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an effect: `state` Done (with the commit), Skipped or Blocked (with the reason)."""

    state: EffectState
    ref: str = ""
    reason: str = ""
    text: str = ""
    source: SourceInfo | None = None
    """What was found, where that is what the effect is for."""


@dataclass(frozen=True, slots=True)
class Push:
    """What the server accepted."""

    branch: str
    commit: str
    subject: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one act: an answer for each run, by its name, and the push, if there was one."""

    done: Mapping[str, Done]
    push: Push | None = None


async def write_records(mirror: Mirror, sink: GitSink, runs: Sequence[CanaryRun]) -> Outcome:
    """The records and, for successes, the pointers to the newest. Raises GitFailed."""
    branch, cluster = shelf.place(sink), sink.spec.cluster
    paths, done = _paths(runs, cluster)
    for attempt in range(TRIES):
        tip = await mirror.fetch(branch, since=oldest(runs))
        shelves = await shelf.read(mirror, tip, {path.rpartition("/")[0] for path in paths.values()})
        for name, path in paths.items():
            commit = tip.effects.get(message.record_effect(path)) if tip else None
            if tip and (commit or path in shelves.paths):
                done.setdefault(name, Done(EffectState.DONE, commit or tip.oid))
        todo = [run for run in runs if run.metadata.name not in done]
        if not todo:
            return Outcome(done)
        edits = await shelf.edits(mirror, shelves, todo, sink)
        text = message.record_message(todo, cluster, paths=[paths[run.metadata.name] for run in todo])
        commits = await _pushed(mirror, sink, branch, tip, [Draft(text, edits, {})])
        if commits:
            fresh = {run.metadata.name: Done(EffectState.DONE, commits[-1]) for run in todo}
            return Outcome(done | fresh, Push(branch, commits[-1], message.subject(text)))
        await _breathe(attempt)
    raise _overtaken(branch)


async def amend_records(mirror: Mirror, sink: GitSink, runs: Sequence[CanaryRun]) -> Outcome:
    """Into the records of these runs, what took them back. Raises GitFailed.

    A second commit, because the record must not wait for a revert that a branch refuses or a person has yet to merge. What is there says whether it
    was done, so it is done once, however often a process dies. The record keeps all else that it says.
    """
    branch, cluster = shelf.place(sink), sink.spec.cluster
    paths, done = _paths(runs, cluster)
    answers = {run.metadata.name: record.answer(run, sink.metadata.name) for run in runs}
    for name in paths.keys() - done.keys():
        if not answers[name]:
            done[name] = Done(EffectState.SKIPPED, reason="NothingReverted", text="the run was not taken back by this sink")
    for attempt in range(TRIES):
        tip = await mirror.fetch(branch)
        shelves = await shelf.read(mirror, tip, {path.rpartition("/")[0] for name, path in paths.items() if name not in done})
        there = await shelf.contents(mirror, shelves, [path for name, path in paths.items() if name not in done])
        for name, path in paths.items():
            if tip is None or there.get(path, {}).get("runId") != name:
                done.setdefault(name, Done(EffectState.SKIPPED, reason="NoRecord", text=f"{branch} has no record of this run"))
            elif there[path].get(record.EFFECTS) == answers[name]:
                done.setdefault(name, Done(EffectState.DONE, tip.effects.get(message.amend_effect(path), tip.oid)))
        todo = [run for run in runs if run.metadata.name not in done]
        if not todo:
            return Outcome(done)
        where = [paths[run.metadata.name] for run in todo]
        said = [answers[run.metadata.name] for run in todo]
        edits = {path: record.encode(there[path] | {record.EFFECTS: one}) for path, one in zip(where, said, strict=True)}
        text = message.amend_message(todo, cluster, paths=where, refs=[next(iter(one.values())) for one in said])
        commits = await _pushed(mirror, sink, branch, tip, [Draft(text, edits, {})])
        if commits:
            fresh = {run.metadata.name: Done(EffectState.DONE, commits[-1]) for run in todo}
            return Outcome(done | fresh, Push(branch, commits[-1], message.subject(text)))
        await _breathe(attempt)
    raise _overtaken(branch)


async def revert_images(mirror: Mirror, sink: GitSink, runs: Sequence[CanaryRun], pasts: Pasts) -> Outcome:
    """The images back where they are written, each run in a commit of its own. Raises GitFailed."""
    branch = sink.spec.repository.branch
    for attempt in range(TRIES):
        tip = await mirror.fetch(branch, since=oldest([*runs, *doubtful(runs, pasts)]))
        if tip is None:
            text = f"the repository has no branch {branch}"
            return Outcome({run.metadata.name: Done(EffectState.BLOCKED, reason="NoBranch", text=text) for run in runs})
        done = {}
        for run in runs:
            if commit := tip.effects.get(message.revert_effect(run)):
                done[run.metadata.name] = Done(EffectState.DONE, commit)
        todo = [run for run in runs if run.metadata.name not in done]
        decided, drafts = await plans(mirror, sink, tip, todo, pasts)
        if not drafts:
            return Outcome(done | decided)
        commits = await _pushed(mirror, sink, branch, tip, list(drafts.values()))
        if commits:
            fresh = {name: Done(EffectState.DONE, commit) for name, commit in zip(drafts, commits, strict=True)}
            last = list(drafts.values())[-1]
            return Outcome(done | decided | fresh, Push(branch, commits[-1], message.subject(last.message)))
        await _breathe(attempt)
    raise _overtaken(branch)


async def plans(
    mirror: Mirror, sink: GitSink, tip: Tip, runs: Sequence[CanaryRun], pasts: Pasts
) -> tuple[dict[str, Done], dict[str, Draft]]:
    """What to answer for runs that need no commit, and the commits of the others; each is planned on what the one before it leaves."""
    if not runs:
        return {}, {}
    limits = sink.spec.limits
    workloads = {run.metadata.name: workload_of(run) for run in runs}
    found = await gather(mirror, tip.oid, list(workloads.values()), allowed=limits.allowed_paths, max_bytes=limits.max_bytes)
    contents = found.contents
    decided: dict[str, Done] = {}
    drafts: dict[str, Draft] = {}
    written = message.reverted(tip.effects)
    for run in runs:
        name = run.metadata.name
        plan = await asyncio.to_thread(revert.plan, contents, workloads[name], unread=found.unread, allowed=limits.allowed_paths)
        if plan.verdict is not revert.Verdict.EDIT:
            state = EffectState.SKIPPED if plan.verdict.final else EffectState.BLOCKED
            decided[name] = Done(state, reason=plan.verdict, text=plan.explanation)
            continue
        if len(plan.edits) > limits.max_files:
            text = f"the revert edits {len(plan.edits)} files, and limits.maxFiles is {limits.max_files}"
            decided[name] = Done(EffectState.BLOCKED, reason="TooManyFiles", text=text)
            continue
        if (past := pasts.get(name)) and (halt := past.against(run.spec.release, but=name, written=written)):
            decided[name] = Done(EffectState.BLOCKED, reason=breaker.REASON, text="; ".join([halt.text, *plan.notes]))
            continue
        contents |= plan.edits
        written.add(name)
        modes = {path: found.entries[path].mode for path in plan.edits}
        drafts[name] = Draft(message.revert_message(run, sink.spec.cluster, plan.changes, plan.notes), plan.edits, modes)
    sites.forget()
    return decided, drafts


def _paths(runs: Sequence[CanaryRun], cluster: str) -> tuple[dict[str, str], dict[str, Done]]:
    """Where the records of these runs are, by their names, and the answer for those whose names are none."""
    paths: dict[str, str] = {}
    done: dict[str, Done] = {}
    for run in runs:
        try:
            paths[run.metadata.name] = record.path_of(run, cluster)
        except ValueError as error:
            done[run.metadata.name] = Done(EffectState.SKIPPED, reason="InvalidRun", text=str(error))
    return paths, done


def workload_of(run: CanaryRun) -> sites.Workload:
    """What was released, as the search for its places wants it."""
    return sites.Workload(
        group=run.spec.target.api_version.rpartition("/")[0],
        kind=run.spec.target.kind,
        namespace=run.metadata.namespace,
        name=run.spec.target.name,
        failed=run.spec.release.images,
        previous=run.spec.previous.images if run.spec.previous else {},
    )


async def _pushed(mirror: Mirror, sink: GitSink, branch: str, tip: Tip | None, drafts: Sequence[Draft]) -> list[str]:
    """The commits, on the branch; none when somebody was faster, so that it must be computed again on what is there now."""
    identity = sink.spec.identity
    parent = tip.oid if tip else None
    try:
        return await mirror.publish(branch, parent, drafts, Author(identity.name, identity.email), expected=parent)
    except GitFailed as error:
        if error.failure.reaction is Reaction.RECOMPUTE:
            return []
        raise


def oldest(runs: Sequence[CanaryRun]) -> float:
    """No commit for these runs is older."""
    return min((run.status.finished_at or run.spec.started_at).timestamp() for run in runs)


def doubtful(runs: Sequence[CanaryRun], pasts: Pasts) -> list[CanaryRun]:
    """Earlier runs of which only Git can tell whether they were taken back."""
    return [other for run in runs if (past := pasts.get(run.metadata.name)) for other in past.doubtful(run)]


async def _breathe(attempt: int) -> None:
    """Step aside for a moment: two that retry in step lose to a third for ever."""
    await asyncio.sleep(random.uniform(0, min(8.0, 0.1 * 2**attempt)))


def _overtaken(branch: str) -> GitFailed:
    return GitFailed(Failure("Overtaken", Reaction.BACK_OFF, f"{branch} moved {TRIES} times while it was written to"))
