"""GitHub, GitHub Enterprise Server and ghe.com: REST for statuses and pull requests, GraphQL for commits.

`createCommitOnBranch` is the only way to a commit that GitHub signs, and its `expectedHeadOid` is a compare-and-swap of the branch. It takes
neither author nor file modes: the commit is the token owner's, and a file keeps the mode that it has.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from canary.gitops.failures import Failure, Reaction, scrub
from canary.gitops.forges.base import CommitStatus, FileEdits, ForgeFailed, Proposal, Pull, PullState, State, ours, short
from canary.gitops.forges.client import Client, listed

HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
DESCRIPTION = 140
_STATES = {State.PENDING: "pending", State.SUCCESS: "success", State.FAILURE: "failure", State.CANCELED: "error"}
_COMMIT = "mutation($input: CreateCommitOnBranchInput!) { createCommitOnBranch(input: $input) { commit { oid } } }"


class GitHub:
    """One repository."""

    name = "github"

    def __init__(self, client: Client, owner: str, repository: str) -> None:
        self._client = client
        self._owner = owner
        self._slug = f"{owner}/{repository}"
        self._repo = f"/repos/{quote(owner)}/{quote(repository)}"

    async def statuses(self, revision: str, context: str) -> CommitStatus | None:
        async for item in self._client.pages(f"{self._repo}/commits/{quote(revision)}/statuses", per_page=100):
            if item.get("context") == context:
                state = next((state for state, word in _STATES.items() if word == item.get("state")), State.FAILURE)
                return CommitStatus(context, state, item.get("description") or "", item.get("target_url") or "")
        return None

    async def set_status(self, revision: str, status: CommitStatus) -> None:
        body = {"state": _STATES[status.state], "context": status.context, "description": short(status.description, DESCRIPTION)}
        if status.url:
            body["target_url"] = status.url
        await self._client.post(f"{self._repo}/statuses/{quote(revision)}", body)

    async def pulls(self, head: str) -> list[Pull]:
        query: dict[str, str | int] = {"head": f"{self._owner}:{head}", "state": "all", "per_page": 100}
        found = [_pull(item) async for item in self._client.pages(f"{self._repo}/pulls", **query)]
        return ours(found, head)

    async def open_pull(self, proposal: Proposal) -> Pull:
        body = {"head": proposal.head, "base": proposal.base, "title": short(proposal.title, 255), "body": short(proposal.body, 65_000)}
        return _pull((await self._client.post(f"{self._repo}/pulls", body)).data)

    async def update_pull(self, pull: Pull, *, title: str, body: str) -> None:
        await self._client.patch(f"{self._repo}/pulls/{pull.number}", {"title": short(title, 255), "body": short(body, 65_000)})

    async def close_pull(self, pull: Pull, *, comment: str) -> None:
        if comment:
            await self._client.post(f"{self._repo}/issues/{pull.number}/comments", {"body": comment})
        await self._client.patch(f"{self._repo}/pulls/{pull.number}", {"state": "closed"})

    async def commit(self, edits: FileEdits) -> str:
        headline, _, body = edits.message.partition("\n")
        additions = [
            {"path": path, "contents": base64.b64encode(content).decode()} for path, content in edits.edits.items() if content is not None
        ]
        deletions = [{"path": path} for path, content in edits.edits.items() if content is None]
        asked = {
            "branch": {"repositoryNameWithOwner": self._slug, "branchName": edits.branch},
            "message": {"headline": headline, "body": body.strip("\n")},
            "fileChanges": {"additions": additions, "deletions": deletions},
            "expectedHeadOid": edits.parent,
        }
        answer = await self._client.post(self._graphql(), {"query": _COMMIT, "variables": {"input": asked}})
        data = answer.data if isinstance(answer.data, dict) else {}
        if errors := listed(data.get("errors")):
            raise _refusal(errors)
        try:
            return str(data["data"]["createCommitOnBranch"]["commit"]["oid"])
        except (KeyError, TypeError):
            raise ForgeFailed(Failure("Unknown", Reaction.BACK_OFF, "GitHub made a commit and does not say which")) from None

    def _graphql(self) -> str:
        """Beside REST: `/graphql` at github.com, `/api/graphql` where REST is `/api/v3`."""
        return f"{self._client.api.removesuffix('/v3')}/graphql"

    async def close(self) -> None:
        await self._client.close()


def _pull(item: Any) -> Pull:
    state = PullState.OPEN if item.get("state") == "open" else PullState.MERGED if item.get("merged_at") else PullState.CLOSED
    head, base = item.get("head") or {}, item.get("base") or {}
    return Pull(
        number=int(item["number"]),
        url=str(item.get("html_url") or ""),
        state=state,
        head=str(head.get("ref") or ""),
        base=str(base.get("ref") or ""),
        title=item.get("title") or "",
        body=item.get("body") or "",
        foreign=_repository(head) != _repository(base),
    )


def _repository(side: Any) -> str:
    """Empty when the fork was deleted."""
    return str((side.get("repo") or {}).get("full_name") or "")


def _refusal(errors: list[Any]) -> ForgeFailed:
    """GraphQL answers 200 and says in `errors` what went wrong."""
    text = scrub("; ".join(str(error.get("message") or "") for error in errors))
    kinds = {str(error.get("type") or "") for error in errors}
    lower = text.lower()
    if "STALE_DATA" in kinds or "expected branch to point to" in lower:
        return ForgeFailed(Failure("Stale", Reaction.RECOMPUTE, text))
    if "RATE_LIMITED" in kinds:
        return ForgeFailed(Failure("Throttled", Reaction.BACK_OFF, text, 60.0))
    if "pull request" in lower or "protected" in lower or "rule violation" in lower:
        return ForgeFailed(Failure("Protected", Reaction.BLOCKED, text))
    if "FORBIDDEN" in kinds or "INSUFFICIENT_SCOPES" in kinds:
        return ForgeFailed(Failure("Forbidden", Reaction.BLOCKED, text))
    if "NOT_FOUND" in kinds:
        return ForgeFailed(Failure("NotFound", Reaction.BLOCKED, text))
    return ForgeFailed(Failure("Refused", Reaction.BLOCKED, text))
