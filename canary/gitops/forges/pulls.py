"""One pull request per canary and cluster, whatever dies in between: looked for by its branch, told apart by a marker in its body.

The marker names the run. A pull request that somebody closed unmerged is an answer to that run, and is never opened again; the next run that
fails may ask anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from canary.gitops.forges.base import Forge, ForgeFailed, Proposal, Pull, PullState


def marker(run: str) -> str:
    """A line that is not shown and says which run the pull request is about."""
    return f"<!-- canary-run: {run} -->"


@dataclass(frozen=True, slots=True)
class Found:
    """What the forge has for a branch: the open pull request, if any, and the newest that is about this run."""

    open: Pull | None
    ours: Pull | None


async def find(forge: Forge, head: str, run: str) -> Found:
    """Look. Raises ForgeFailed."""
    pulls = await forge.pulls(head)
    current = next((one for one in pulls if one.state is PullState.OPEN), None)
    ours = [one for one in pulls if marker(run) in one.body]
    return Found(current, next((one for one in ours if one.state is not PullState.CLOSED), ours[0] if ours else None))


async def ensure(forge: Forge, found: Found, proposal: Proposal) -> Pull:
    """The open pull request of this branch, saying this. Raises ForgeFailed."""
    current = found.open
    if current is None:
        try:
            return await forge.open_pull(proposal)
        except ForgeFailed as error:
            if not error.of_the_item:
                raise
            # Opened by somebody since we looked, or by ourselves before a crash and not in the list then. Forges word that in many ways, so it is
            # the list that decides.
            current = next((one for one in await forge.pulls(proposal.head) if one.state is PullState.OPEN), None)
            if current is None:
                raise
    if _marked(proposal.body) not in current.body:
        await forge.update_pull(current, title=proposal.title, body=proposal.body)
    return current


def _marked(body: str) -> str:
    """The marker in a body of ours: what else a person writes there is theirs."""
    return next((line for line in body.splitlines() if line.startswith("<!-- canary-run:")), body)
