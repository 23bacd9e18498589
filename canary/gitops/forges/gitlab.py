"""GitLab, in the cloud or self-managed.

Its commits API has no compare-and-swap of the branch, but one of each file (`last_commit_id`), which is as much as a revert needs: what it edits is what it
has read. A repeated status is refused as an impossible transition, which is what we wanted to hear.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from canary.gitops.failures import Failure, Reaction
from canary.gitops.forges.base import CommitStatus, FileEdits, ForgeFailed, Proposal, Pull, PullState, State, ours, short
from canary.gitops.forges.client import Client

_STATES = {State.PENDING: "pending", State.SUCCESS: "success", State.FAILURE: "failed", State.CANCELED: "canceled"}
_PULLS = {"opened": PullState.OPEN, "locked": PullState.OPEN, "merged": PullState.MERGED}
_STALE = (
    "has changed since you started editing",
    "a file with this name already exists",
    "a file with this name doesn't exist",
    "could not update refs",
)


class GitLab:
    """One project."""

    name = "gitlab"

    def __init__(self, client: Client, path: str) -> None:
        self._client = client
        self._project = f"/projects/{quote(path, safe='')}"

    async def statuses(self, revision: str, context: str) -> CommitStatus | None:
        path = f"{self._project}/repository/commits/{quote(revision)}/statuses"
        found = [item async for item in self._client.pages(path, name=context, all="true", per_page=100) if item.get("name") == context]
        if not found:
            return None
        item = max(found, key=lambda one: int(one.get("id") or 0))
        word = "pending" if item.get("status") in {"pending", "running"} else item.get("status")
        state = next((state for state, known in _STATES.items() if known == word), State.FAILURE)
        return CommitStatus(context, state, item.get("description") or "", item.get("target_url") or "")

    async def set_status(self, revision: str, status: CommitStatus) -> None:
        body = {"state": _STATES[status.state], "name": status.context, "description": short(status.description, 255)}
        if status.url:
            body["target_url"] = status.url
        try:
            await self._client.post(f"{self._project}/statuses/{quote(revision)}", body)
        except ForgeFailed as error:
            if "cannot transition status" not in error.failure.text.lower():
                raise

    async def pulls(self, head: str) -> list[Pull]:
        query: dict[str, str | int] = {"source_branch": head, "state": "all", "per_page": 100}
        found = [_pull(item) async for item in self._client.pages(f"{self._project}/merge_requests", **query)]
        return ours(found, head)

    async def open_pull(self, proposal: Proposal) -> Pull:
        body = {
            "source_branch": proposal.head,
            "target_branch": proposal.base,
            "title": short(proposal.title, 255),
            "description": proposal.body,
            "remove_source_branch": True,
        }
        return _pull((await self._client.post(f"{self._project}/merge_requests", body)).data)

    async def update_pull(self, pull: Pull, *, title: str, body: str) -> None:
        await self._client.put(f"{self._project}/merge_requests/{pull.number}", {"title": short(title, 255), "description": body})

    async def close_pull(self, pull: Pull, *, comment: str) -> None:
        if comment:
            await self._client.post(f"{self._project}/merge_requests/{pull.number}/notes", {"body": comment})
        await self._client.put(f"{self._project}/merge_requests/{pull.number}", {"state_event": "close"})

    async def commit(self, edits: FileEdits) -> str:
        actions = [await self._action(edits, path, content) for path, content in edits.edits.items()]
        body = {"branch": edits.branch, "commit_message": edits.message, "actions": actions}
        if edits.name:
            body |= {"author_name": edits.name, "author_email": edits.email}
        try:
            answer = await self._client.post(f"{self._project}/repository/commits", body)
        except ForgeFailed as error:
            if any(text in error.failure.text.lower() for text in _STALE):
                raise ForgeFailed(Failure("Stale", Reaction.RECOMPUTE, error.failure.text)) from error
            raise
        return str(answer.data["id"])

    async def _action(self, edits: FileEdits, path: str, content: bytes | None) -> dict[str, Any]:
        old = path in edits.replaced
        action: dict[str, Any] = {"action": "update" if old else "create", "file_path": path}
        if content is None:
            action["action"] = "delete"
        else:
            action |= {"content": base64.b64encode(content).decode(), "encoding": "base64"}
        if old:
            answer = await self._client.get(f"{self._project}/repository/files/{quote(path, safe='')}", ref=edits.parent)
            action["last_commit_id"] = answer.data["last_commit_id"]
        return action

    async def close(self) -> None:
        await self._client.close()


def _pull(item: Any) -> Pull:
    return Pull(
        number=int(item["iid"]),
        url=str(item.get("web_url") or ""),
        state=_PULLS.get(str(item.get("state")), PullState.CLOSED),
        head=str(item.get("source_branch") or ""),
        base=str(item.get("target_branch") or ""),
        title=item.get("title") or "",
        body=item.get("description") or "",
        foreign=item.get("source_project_id") != item.get("target_project_id"),
    )
