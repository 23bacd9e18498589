"""Reverts by pull request: for branches that people alone may change.

One branch and at most one open pull request per canary and cluster. The branch is always made anew from the base and never stacked; what others have
added to it is never overwritten. Each step is found again after a crash: the branch by its commit's trailer, the pull request by branch and marker, the merge by
the base itself. A person's no is remembered by the closed pull request, not by us.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from canary.api.canaryrun import CanaryRun, EffectState
from canary.api.gitsink import GitSink
from canary.gitops import effects, message
from canary.gitops.effects import Done
from canary.gitops.forges import pulls
from canary.gitops.forges.base import Forge, Proposal, PullState
from canary.gitops.forges.pulls import Found
from canary.gitops.git import Draft, Mirror, Tip
from canary.gitops.signing import Author

PREFIX = "canary-revert"
"""A branch `canary` may exist, and then none below `canary/` can."""
CLOSING = "<!-- canary-closing -->"
"""Stands in a pull request that we are about to close with a comment."""
OPEN = "PullRequest"
"""Reason of an effect that waits for a person to merge or to decline."""


def head_of(sink: GitSink, run: CanaryRun) -> str:
    """The branch of this canary's reverts."""
    return f"{PREFIX}/{sink.spec.cluster}/{run.metadata.namespace}.{run.spec.canary_ref.name}"


async def propose(mirror: Mirror, forge: Forge, sink: GitSink, run: CanaryRun, pasts: effects.Pasts) -> Done:
    """Have it open, merged, or declined. Raises GitFailed and ForgeFailed."""
    head, base, name = head_of(sink, run), sink.spec.repository.branch, run.metadata.name
    found = await pulls.find(forge, head, name)
    if found.ours and (done := _answered(found)):
        return done
    tip = await mirror.fetch(base, since=effects.oldest([run, *effects.doubtful([run], pasts)]))
    if tip is None:
        return Done(EffectState.BLOCKED, reason="NoBranch", text=f"the repository has no branch {base}")
    if commit := tip.effects.get(message.revert_effect(run)):
        return Done(EffectState.DONE, commit)
    decided, drafts = await effects.plans(mirror, sink, tip, [run], pasts)
    if name not in drafts:
        if decided[name].state.final:
            await _close(forge, found, decided[name].text)
        return replace(decided[name], ref=found.ours.url if found.ours else "")
    draft = drafts[name]
    problem = await _push(mirror, sink, tip, head, draft)
    if problem and not (found.ours and found.ours.state is PullState.OPEN):
        return problem
    body = f"{pulls.marker(name)}\n{message.proposal_body(draft.message, base)}\n"  # the marker first: forges cut long bodies
    pull = await pulls.ensure(forge, found, Proposal(head, base, message.subject(draft.message), body))
    return Done(EffectState.WAITING, pull.url, OPEN, "the pull request waits for somebody to merge or to close it")


async def withdraw(forge: Forge, sink: GitSink, run: CanaryRun, why: str) -> None:
    """Close what is open for this run, because nobody needs it any more. Raises ForgeFailed."""
    await _close(forge, await pulls.find(forge, head_of(sink, run), run.metadata.name), why)


def _answered(found: Found) -> Done | None:
    """What a person has said to it already."""
    assert found.ours
    if found.ours.state is PullState.MERGED:
        return Done(EffectState.DONE, found.ours.url)
    if found.ours.state is PullState.CLOSED:
        return Done(EffectState.SKIPPED, found.ours.url, "Declined", "the pull request was closed unmerged")
    return None


async def _close(forge: Forge, found: Found, why: str) -> None:
    """Say why, once, and close it. What was begun before a crash is only finished."""
    pull = found.ours
    if pull is None or pull.state is not PullState.OPEN:
        return
    if CLOSING in pull.body:
        await forge.close_pull(pull, comment="")
        return
    await forge.update_pull(pull, title=pull.title, body=f"{CLOSING}\n{pull.body}")
    again = next((one for one in await forge.pulls(pull.head) if one.number == pull.number), pull)  # its version has changed
    await forge.close_pull(again, comment=f"Not needed any more: {message.clean(why)}")


async def _push(mirror: Mirror, sink: GitSink, tip: Tip, head: str, draft: Draft) -> Done | None:
    """Have the commit on the branch of the pull request; what is in the way of it, if something is."""
    own = await mirror.fetch(head)
    if own is not None:
        ours = any(effect and commit == own.oid for effect, commit in own.effects.items())  # commits that say nothing are under ""
        if not ours and not await mirror.has(tip.oid, own.oid):
            return Done(EffectState.BLOCKED, reason="ForeignCommit", text=f"{head} has a commit of somebody else, which is not overwritten")
        if own.oid != tip.oid and await _same(mirror, own, draft):
            return None
    identity = sink.spec.identity
    author = Author(identity.name, identity.email)
    await mirror.publish(head, tip.oid, [draft], author, expected=own.oid if own else None)
    return None


async def _same(mirror: Mirror, own: Tip, draft: Draft) -> bool:
    """Whether the branch says already what we would say, of the same run."""
    trailer = next((line for line in draft.message.splitlines() if line.startswith(f"{message.EFFECT_TRAILER}: ")), "")
    if own.effects.get(trailer.partition(": ")[2]) != own.oid:
        return False
    there = await mirror.blob_ids(own.oid, draft.edits)
    return all(content is not None and there.get(path) == _blob_id(content, like=own.oid) for path, content in draft.edits.items())


def _blob_id(content: bytes, *, like: str) -> str:
    """The id that git gives a file, in a repository with ids like this one."""
    algorithm = hashlib.sha1 if len(like) == 40 else hashlib.sha256
    return algorithm(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
