"""Azure DevOps Services and Server.

Its sign-in page instead of a 401 is what `client` knows about; its descriptions of pull requests end at 4,000 characters.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from canary.gitops.failures import Failure, Reaction
from canary.gitops.forges.base import CommitStatus, FileEdits, ForgeFailed, Proposal, Pull, PullState, State, ours, short, unsupported
from canary.gitops.forges.client import MAX_PAGES, Client, listed

VERSION = "7.0"
"""Of the API: Azure DevOps Server 2022, and everything newer."""
GENRE = "canary"
PAGE = 100
_STATES = {State.PENDING: "pending", State.SUCCESS: "succeeded", State.FAILURE: "failed", State.CANCELED: "error"}
_PULLS = {"active": PullState.OPEN, "completed": PullState.MERGED}


class Azure:
    """One repository."""

    name = "azure"

    def __init__(self, client: Client, project: str, repository: str) -> None:
        self._client = client
        self._repo = f"/{quote(project)}/_apis/git/repositories/{quote(repository)}"
        self._web = f"{client.api}/{quote(project)}/_git/{quote(repository)}"

    async def statuses(self, revision: str, context: str) -> CommitStatus | None:
        found = []
        for number in range(MAX_PAGES):
            query: dict[str, str | int] = {"top": PAGE, "skip": number * PAGE, "api-version": VERSION}
            data = (await self._client.get(f"{self._repo}/commits/{quote(revision)}/statuses", **query)).data
            page = listed((data or {}).get("value"))
            found += [item for item in page if (item.get("context") or {}) == {"name": context, "genre": GENRE}]
            if len(page) < PAGE:
                break
        if not found:
            return None
        item = max(found, key=lambda one: int(one.get("id") or 0))
        state = next((state for state, word in _STATES.items() if word == item.get("state")), State.FAILURE)
        return CommitStatus(context, state, item.get("description") or "", item.get("targetUrl") or "")

    async def set_status(self, revision: str, status: CommitStatus) -> None:
        body: dict[str, Any] = {
            "state": _STATES[status.state],
            "description": short(status.description, 400),
            "context": {"name": status.context, "genre": GENRE},
        }
        if status.url:
            body["targetUrl"] = status.url
        await self._client.post(f"{self._repo}/commits/{quote(revision)}/statuses", body, **{"api-version": VERSION})

    async def pulls(self, head: str) -> list[Pull]:
        found: list[Pull] = []
        for number in range(MAX_PAGES):
            query: dict[str, str | int] = {
                "searchCriteria.sourceRefName": f"refs/heads/{head}",
                "searchCriteria.status": "all",
                "$top": PAGE,
                "$skip": number * PAGE,
                "api-version": VERSION,
            }
            page = listed(((await self._client.get(f"{self._repo}/pullrequests", **query)).data or {}).get("value"))
            found += [self._pull(item) for item in page]
            if len(page) < PAGE:
                break
        return ours(found, head)

    async def open_pull(self, proposal: Proposal) -> Pull:
        body = {
            "sourceRefName": f"refs/heads/{proposal.head}",
            "targetRefName": f"refs/heads/{proposal.base}",
            "title": short(proposal.title, 255),
            "description": short(proposal.body, 4000),
        }
        try:
            return self._pull((await self._client.post(f"{self._repo}/pullrequests", body, **{"api-version": VERSION})).data)
        except ForgeFailed as error:
            if "TF401179" in error.failure.text:
                raise ForgeFailed(Failure("Exists", Reaction.BACK_OFF, error.failure.text)) from error
            raise

    async def update_pull(self, pull: Pull, *, title: str, body: str) -> None:
        changed = {"title": short(title, 255), "description": short(body, 4000)}
        await self._client.patch(f"{self._repo}/pullrequests/{pull.number}", changed, **{"api-version": VERSION})

    async def close_pull(self, pull: Pull, *, comment: str) -> None:
        if comment:
            thread = {"comments": [{"parentCommentId": 0, "content": comment, "commentType": 1}], "status": 1}
            await self._client.post(f"{self._repo}/pullRequests/{pull.number}/threads", thread, **{"api-version": VERSION})
        await self._client.patch(f"{self._repo}/pullrequests/{pull.number}", {"status": "abandoned"}, **{"api-version": VERSION})

    async def commit(self, edits: FileEdits) -> str:
        raise unsupported("Azure DevOps", edits)

    async def close(self) -> None:
        await self._client.close()

    def _pull(self, item: Any) -> Pull:
        return Pull(
            number=int(item["pullRequestId"]),
            url=f"{self._web}/pullrequest/{int(item['pullRequestId'])}",
            state=_PULLS.get(str(item.get("status")), PullState.CLOSED),
            head=str(item.get("sourceRefName") or "").removeprefix("refs/heads/"),
            base=str(item.get("targetRefName") or "").removeprefix("refs/heads/"),
            title=item.get("title") or "",
            body=item.get("description") or "",
            foreign=bool(item.get("forkSource")),
        )
