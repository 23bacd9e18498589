"""Annotated tags on commits that were promoted, one per run: an answer to "what ever ran there" that any Git client can read."""

from __future__ import annotations

from collections.abc import Sequence

from canary.api.canaryrun import CanaryRun, EffectState
from canary.api.gitsink import GitSink
from canary.gitops import message, record
from canary.gitops.effects import Done, Outcome
from canary.gitops.failures import GitFailed, Reaction
from canary.gitops.git import Mirror
from canary.gitops.signing import Author
from canary.gitops.statuses import source_revision

_UNKNOWN = ("not our ref", "couldn't find remote ref", "unadvertised object", "no such remote ref", "did not send all necessary objects")
"""What servers say of a commit that they do not have, or do not give."""


async def tag_promotions(mirror: Mirror, sink: GitSink, runs: Sequence[CanaryRun]) -> Outcome:
    """Raises GitFailed."""
    return Outcome({run.metadata.name: await _tag(mirror, sink, run) for run in runs})


def tag_of(sink: GitSink, run: CanaryRun) -> str:
    """Its name. ValueError as `record.folder_of`."""
    return f"canary/{record.folder_of(run, sink.spec.cluster)}/{run.metadata.name}"


async def _tag(mirror: Mirror, sink: GitSink, run: CanaryRun) -> Done:
    revision = source_revision(sink, run)
    if isinstance(revision, Done):
        return revision
    try:
        name = tag_of(sink, run)
    except ValueError as error:
        return Done(EffectState.SKIPPED, reason="InvalidRun", text=str(error))
    tip = await mirror.fetch(sink.spec.repository.branch)
    if await mirror.tagged(name):  # named by the run, so it is ours
        return Done(EffectState.DONE, name)
    if tip is None or not await mirror.has(tip.oid, revision):
        try:
            await mirror.fetch_commit(revision)
        except GitFailed as error:
            if any(text in error.failure.text.lower() for text in _UNKNOWN):
                return Done(EffectState.BLOCKED, reason="NotFound", text=f"the repository has no commit {revision}")
            raise
    identity = sink.spec.identity
    try:
        await mirror.tag(name, revision, message.tag_message(run, sink.spec.cluster), Author(identity.name, identity.email))
    except GitFailed as error:
        if error.failure.reaction is not Reaction.RECOMPUTE:
            raise
    return Done(EffectState.DONE, name)
