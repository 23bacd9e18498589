"""Commit statuses: beside the commit that a run was started by, whether it goes on, was promoted, or failed."""

from __future__ import annotations

from canary.api.canaryrun import CanaryRun, EffectState, SourceConfidence
from canary.api.gitsink import GitSink
from canary.gitops import message
from canary.gitops.effects import Done
from canary.gitops.forges import commit_status
from canary.gitops.forges.address import same_repository
from canary.gitops.forges.base import CommitStatus, Forge, State

_STATES = {"": State.PENDING, "succeeded": State.SUCCESS, "failed": State.FAILURE, "canceled": State.CANCELED}


async def post_status(forge: Forge, sink: GitSink, run: CanaryRun) -> Done:
    """Have it there. Raises ForgeFailed."""
    revision = source_revision(sink, run)
    if isinstance(revision, Done):
        return revision
    await commit_status.ensure(forge, revision, status_of(sink, run))
    return Done(EffectState.DONE, revision)


def status_of(sink: GitSink, run: CanaryRun) -> CommitStatus:
    """One context per canary and cluster, so that a later run of the same commit replaces it."""
    names = {
        "{cluster}": sink.spec.cluster,
        "{namespace}": run.metadata.namespace,
        "{name}": run.spec.canary_ref.name,
        "{run}": run.metadata.name,
    }
    url = sink.spec.statuses.url
    for place, text in names.items():
        url = url.replace(place, text)
    context = f"canary/{sink.spec.cluster}/{run.metadata.namespace}/{run.spec.canary_ref.name}"
    return CommitStatus(context, _STATES[run.status.outcome], message.status_text(run, sink.spec.cluster), url)


def source_revision(sink: GitSink, run: CanaryRun) -> str | Done:
    """The commit of this run in the sink's repository, or why there is none."""
    source = run.source
    if source is None:
        text = "nothing says which commit started this run"
        return Done(EffectState.SKIPPED, reason="NoSource", text=text)
    if source.repository and not same_repository(source.repository, sink.spec.repository.url):
        text = f"this run was started by a commit of {message.clean(source.repository)}"
        return Done(EffectState.SKIPPED, reason="OtherRepository", text=text)
    if source.confidence is SourceConfidence.LOW:  # beside another commit it would be believed, and pass or block what is not its own
        text = f"it is not certain that commit {source.revision} started this run"
        return Done(EffectState.SKIPPED, reason="LowConfidence", text=text)
    return source.revision
