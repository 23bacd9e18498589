"""Bitbucket Server and Data Center.

Pages by number (`start`, `isLastPage`), an update must name the version that it changes, and must repeat the reviewers, else they are gone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from canary.gitops.failures import Failure, Reaction
from canary.gitops.forges.base import CommitStatus, FileEdits, ForgeFailed, Proposal, Pull, PullState, State, ours, short, unsupported
from canary.gitops.forges.bitbucket import key_of, status_body
from canary.gitops.forges.client import MAX_PAGES, Client, listed

_STATES = {State.PENDING: "INPROGRESS", State.SUCCESS: "SUCCESSFUL", State.FAILURE: "FAILED", State.CANCELED: "FAILED"}
_PULLS = {"OPEN": PullState.OPEN, "MERGED": PullState.MERGED}


class BitbucketServer:
    """One repository."""

    name = "bitbucketServer"

    def __init__(self, client: Client, project: str, slug: str) -> None:
        self._client = client
        self._repository = {"slug": slug, "project": {"key": project}}
        self._repo = f"/rest/api/1.0/projects/{quote(project)}/repos/{quote(slug)}"
        self._web = f"{client.api}/projects/{quote(project)}/repos/{quote(slug)}"

    async def statuses(self, revision: str, context: str) -> CommitStatus | None:
        key = key_of(context)
        async for item in self._values(f"/rest/build-status/1.0/commits/{quote(revision)}"):
            if item.get("key") == key:
                state = next((state for state, word in _STATES.items() if word == item.get("state")), State.FAILURE)
                url = str(item.get("url") or "")
                return CommitStatus(context, state, item.get("description") or "", "" if url == self._web else url)
        return None

    async def set_status(self, revision: str, status: CommitStatus) -> None:
        body = status_body(status, url=status.url or self._web) | {"state": _STATES[status.state]}
        await self._client.post(f"/rest/build-status/1.0/commits/{quote(revision)}", body)

    async def pulls(self, head: str) -> list[Pull]:
        query = {"at": f"refs/heads/{head}", "direction": "OUTGOING", "state": "ALL"}
        found = [_pull(item) async for item in self._values(f"{self._repo}/pull-requests", **query)]
        return ours(found, head)

    async def open_pull(self, proposal: Proposal) -> Pull:
        body = {
            "title": short(proposal.title, 255),
            "description": short(proposal.body, 32_000),
            "fromRef": {"id": f"refs/heads/{proposal.head}", "repository": self._repository},
            "toRef": {"id": f"refs/heads/{proposal.base}", "repository": self._repository},
        }
        try:
            return _pull((await self._client.post(f"{self._repo}/pull-requests", body)).data)
        except ForgeFailed as error:
            raise _exists(error) from error

    async def update_pull(self, pull: Pull, *, title: str, body: str) -> None:
        changed = {
            "version": pull.version,
            "title": short(title, 255),
            "description": short(body, 32_000),
            "reviewers": list(pull.reviewers),
        }
        await self._client.put(f"{self._repo}/pull-requests/{pull.number}", changed)

    async def close_pull(self, pull: Pull, *, comment: str) -> None:
        if comment:
            await self._client.post(f"{self._repo}/pull-requests/{pull.number}/comments", {"text": comment})
        await self._client.post(f"{self._repo}/pull-requests/{pull.number}/decline", {}, version=pull.version)

    async def commit(self, edits: FileEdits) -> str:
        raise unsupported("Bitbucket Server", edits)

    async def close(self) -> None:
        await self._client.close()

    async def _values(self, path: str, **query: str | int) -> AsyncIterator[Any]:
        start = 0
        for _ in range(MAX_PAGES):
            answer = await self._client.get(path, **query, start=start, limit=100)
            data = answer.data if isinstance(answer.data, dict) else {}
            for item in listed(data.get("values")):
                yield item
            following = data.get("nextPageStart")
            if data.get("isLastPage", True) or not isinstance(following, int) or following <= start:
                return
            start = following


def _exists(error: ForgeFailed) -> ForgeFailed:
    """Its words for a second pull request are "only one pull request may be open"."""
    if "only one pull request may be open" in error.failure.text.lower():
        return ForgeFailed(Failure("Exists", Reaction.BACK_OFF, error.failure.text))
    return error


def _pull(item: Any) -> Pull:
    links = (item.get("links") or {}).get("self") or [{}]
    return Pull(
        number=int(item["id"]),
        url=str(links[0].get("href") or ""),
        state=_PULLS.get(str(item.get("state")), PullState.CLOSED),
        head=_branch(item.get("fromRef")),
        base=_branch(item.get("toRef")),
        title=item.get("title") or "",
        body=item.get("description") or "",
        foreign=_repository(item.get("fromRef")) != _repository(item.get("toRef")),
        version=int(item.get("version") or 0),
        reviewers=[{"user": {"name": (one.get("user") or {}).get("name")}} for one in listed(item.get("reviewers"))],
    )


def _branch(ref: Any) -> str:
    return str((ref or {}).get("id") or "").removeprefix("refs/heads/")


def _repository(ref: Any) -> tuple[str, str]:
    repository = (ref or {}).get("repository") or {}
    return str((repository.get("project") or {}).get("key") or ""), str(repository.get("slug") or "")
