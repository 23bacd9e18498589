"""Gitea and Forgejo (Codeberg among them).

Its list of pull requests knows no filter for the branch in the versions that are around, so it is read and filtered here, newest first. The contents API
commits several files at once and compares each with the blob that it replaces.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from canary.gitops.failures import Failure, Reaction
from canary.gitops.forges.base import CommitStatus, FileEdits, ForgeFailed, Proposal, Pull, PullState, State, ours, short
from canary.gitops.forges.client import Client

_STATES = {State.PENDING: "pending", State.SUCCESS: "success", State.FAILURE: "failure", State.CANCELED: "error"}
_STALE = (
    "sha does not match",
    "repository file already exists",
    "does not match the expected",
    "repository file does not exist",
    "push rejected",
)


class Gitea:
    """One repository."""

    name = "gitea"

    def __init__(self, client: Client, owner: str, repository: str) -> None:
        self._client = client
        self._repo = f"/repos/{quote(owner)}/{quote(repository)}"

    async def statuses(self, revision: str, context: str) -> CommitStatus | None:
        path = f"{self._repo}/commits/{quote(revision)}/statuses"
        found = [item async for item in self._client.pages(path, limit=50) if item.get("context") == context]
        if not found:
            return None
        item = max(found, key=lambda one: int(one.get("id") or 0))
        word = item.get("status") or item.get("state")
        state = next((state for state, known in _STATES.items() if known == word), State.FAILURE)
        return CommitStatus(context, state, item.get("description") or "", item.get("target_url") or "")

    async def set_status(self, revision: str, status: CommitStatus) -> None:
        body = {"state": _STATES[status.state], "context": status.context, "description": short(status.description, 255)}
        if status.url:
            body["target_url"] = status.url
        await self._client.post(f"{self._repo}/statuses/{quote(revision)}", body)

    async def pulls(self, head: str) -> list[Pull]:
        query: dict[str, str | int] = {"state": "all", "sort": "recentupdate", "limit": 50}
        found = [_pull(item) async for item in self._client.pages(f"{self._repo}/pulls", **query)]
        return ours(found, head)

    async def open_pull(self, proposal: Proposal) -> Pull:
        body = {"head": proposal.head, "base": proposal.base, "title": short(proposal.title, 255), "body": proposal.body}
        return _pull((await self._client.post(f"{self._repo}/pulls", body)).data)

    async def update_pull(self, pull: Pull, *, title: str, body: str) -> None:
        await self._client.patch(f"{self._repo}/pulls/{pull.number}", {"title": short(title, 255), "body": body})

    async def close_pull(self, pull: Pull, *, comment: str) -> None:
        if comment:
            await self._client.post(f"{self._repo}/issues/{pull.number}/comments", {"body": comment})
        await self._client.patch(f"{self._repo}/pulls/{pull.number}", {"state": "closed"})

    async def commit(self, edits: FileEdits) -> str:
        files = [_operation(edits, path, content) for path, content in edits.edits.items()]
        body: dict[str, Any] = {"branch": edits.branch, "message": edits.message, "files": files}
        if edits.name:
            who = {"name": edits.name, "email": edits.email}
            body |= {"author": who, "committer": who}
        try:
            answer = await self._client.post(f"{self._repo}/contents", body)
        except ForgeFailed as error:
            if any(text in error.failure.text.lower() for text in _STALE):
                raise ForgeFailed(Failure("Stale", Reaction.RECOMPUTE, error.failure.text)) from error
            if "user cannot commit to repo" in error.failure.text.lower():  # so it says of a branch that is protected
                raise ForgeFailed(Failure("Protected", Reaction.BLOCKED, error.failure.text)) from error
            raise
        return str(answer.data["commit"]["sha"])

    async def close(self) -> None:
        await self._client.close()


def _operation(edits: FileEdits, path: str, content: bytes | None) -> dict[str, str]:
    old = edits.replaced.get(path)
    operation = {"operation": "delete" if content is None else "update" if old else "create", "path": path}
    if content is not None:
        operation["content"] = base64.b64encode(content).decode()
    return operation | ({"sha": old} if old else {})


def _pull(item: Any) -> Pull:
    state = PullState.OPEN if item.get("state") == "open" else PullState.MERGED if item.get("merged") else PullState.CLOSED
    head, base = item.get("head") or {}, item.get("base") or {}
    # when the branch is gone, `ref` is the ref of the pull request, and only the label still names the branch
    label = str(head.get("label") or "").rpartition(":")[2]
    ref = str(head.get("ref") or "")
    return Pull(
        number=int(item["number"]),
        url=str(item.get("html_url") or ""),
        state=state,
        head=label if ref.startswith("refs/pull/") and label else ref,
        base=str(base.get("ref") or base.get("label") or ""),
        title=item.get("title") or "",
        body=item.get("body") or "",
        foreign=head.get("repo_id") != base.get("repo_id"),
    )
