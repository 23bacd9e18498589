"""A status beside a commit, posted when it differs from what is there."""

from __future__ import annotations

from canary.gitops.forges.base import CommitStatus, Forge


async def ensure(forge: Forge, revision: str, status: CommitStatus) -> bool:
    """Have it there; whether it had to be posted. Raises ForgeFailed.

    Looked at first: forges keep every status that is posted, GitHub at most 1,000 of one context, and a pipeline may be started by each.
    """
    latest = await forge.statuses(revision, status.context)
    if latest is not None and _same(latest, status):
        return False
    await forge.set_status(revision, status)
    return True


def _same(latest: CommitStatus, wanted: CommitStatus) -> bool:
    """Descriptions are cut by the forges, each elsewhere."""
    if latest.state is not wanted.state or (latest.url and wanted.url and latest.url != wanted.url):
        return False
    return latest.description == wanted.description or latest.description == f"{wanted.description[: len(latest.description) - 3]}..."
