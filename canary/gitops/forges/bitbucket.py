"""Bitbucket Cloud.

A status is known by a key of at most 40 characters, so its context is hashed, as Flux does; posting a known key again changes that one. The URL of
a status is compulsory: without one of ours it is that of the repository.
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote, urlsplit

from canary.gitops.forges.base import CommitStatus, FileEdits, ForgeFailed, Proposal, Pull, PullState, State, ours, short, unsupported
from canary.gitops.forges.client import MAX_PAGES, Client, listed

_STATES = {State.PENDING: "INPROGRESS", State.SUCCESS: "SUCCESSFUL", State.FAILURE: "FAILED", State.CANCELED: "STOPPED"}
_PULLS = {"OPEN": PullState.OPEN, "MERGED": PullState.MERGED}


class Bitbucket:
    """One repository of bitbucket.org."""

    name = "bitbucket"

    def __init__(self, client: Client, workspace: str, repository: str) -> None:
        self._client = client
        self._repo = f"/repositories/{quote(workspace)}/{quote(repository)}"
        self._web = f"https://bitbucket.org/{workspace}/{repository}"

    async def statuses(self, revision: str, context: str) -> CommitStatus | None:
        path = f"{self._repo}/commit/{quote(revision)}/statuses/build/{key_of(context)}"
        try:
            item = (await self._client.get(path)).data
        except ForgeFailed as error:
            if error.failure.reason == "NotFound":
                return None
            raise
        state = next((state for state, word in _STATES.items() if word == item.get("state")), State.FAILURE)
        url = str(item.get("url") or "")
        return CommitStatus(context, state, item.get("description") or "", "" if url == self._web else url)

    async def set_status(self, revision: str, status: CommitStatus) -> None:
        body = status_body(status, url=status.url or self._web) | {"state": _STATES[status.state]}
        await self._client.post(f"{self._repo}/commit/{quote(revision)}/statuses/build", body)

    async def pulls(self, head: str) -> list[Pull]:
        states = " OR ".join(f'state = "{state}"' for state in ("OPEN", "MERGED", "DECLINED", "SUPERSEDED"))
        query = f'source.branch.name = "{head}" AND ({states})'
        answer = await self._client.get(f"{self._repo}/pullrequests", q=query, pagelen=50)
        found: list[Pull] = []
        for _ in range(MAX_PAGES):
            data = answer.data if isinstance(answer.data, dict) else {}
            found += [_pull(item) for item in listed(data.get("values"))]
            more = str(data.get("next") or "")
            if not more or urlsplit(more).netloc != urlsplit(self._client.api).netloc:
                break
            answer = await self._client.ask("GET", more)
        return ours(found, head)

    async def open_pull(self, proposal: Proposal) -> Pull:
        body = {
            "title": short(proposal.title, 255),
            "description": proposal.body,
            "source": {"branch": {"name": proposal.head}},
            "destination": {"branch": {"name": proposal.base}},
            "close_source_branch": True,
        }
        return _pull((await self._client.post(f"{self._repo}/pullrequests", body)).data)

    async def update_pull(self, pull: Pull, *, title: str, body: str) -> None:
        await self._client.put(f"{self._repo}/pullrequests/{pull.number}", {"title": short(title, 255), "description": body})

    async def close_pull(self, pull: Pull, *, comment: str) -> None:
        if comment:
            await self._client.post(f"{self._repo}/pullrequests/{pull.number}/comments", {"content": {"raw": comment}})
        await self._client.post(f"{self._repo}/pullrequests/{pull.number}/decline", {})

    async def commit(self, edits: FileEdits) -> str:
        raise unsupported("Bitbucket", edits)

    async def close(self) -> None:
        await self._client.close()


def key_of(context: str) -> str:
    """What a status is known by, in 40 characters."""
    return hashlib.sha1(context.encode(), usedforsecurity=False).hexdigest()


def status_body(status: CommitStatus, *, url: str) -> dict[str, Any]:
    """What both Bitbuckets call the parts of a status, but for its state."""
    return {"key": key_of(status.context), "name": short(status.context, 255), "description": short(status.description, 255), "url": url}


def _pull(item: Any) -> Pull:
    return Pull(
        number=int(item["id"]),
        url=str(((item.get("links") or {}).get("html") or {}).get("href") or ""),
        state=_PULLS.get(str(item.get("state")), PullState.CLOSED),
        head=_branch(item.get("source")),
        base=_branch(item.get("destination")),
        title=item.get("title") or "",
        body=item.get("description") or (item.get("summary") or {}).get("raw") or "",
        foreign=_repository(item.get("source")) != _repository(item.get("destination")),
    )


def _branch(side: Any) -> str:
    return str(((side or {}).get("branch") or {}).get("name") or "")


def _repository(side: Any) -> str:
    return str(((side or {}).get("repository") or {}).get("full_name") or "")
