"""A forge whose answers may have any shape: a proxy, a sign-in page or another version of it may be what answers.

Around all of them at once, because a check of every field in every forge would be longer than the forges.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from canary.gitops.failures import Failure, Reaction
from canary.gitops.forges.base import CommitStatus, FileEdits, Forge, ForgeFailed, Proposal, Pull

T = TypeVar("T")


class Careful:
    """The forge inside, whose surprises are ForgeFailed as well."""

    def __init__(self, inner: Forge) -> None:
        self._inner = inner
        self.name = inner.name

    async def statuses(self, revision: str, context: str) -> CommitStatus | None:
        return await self._sane(self._inner.statuses(revision, context))

    async def set_status(self, revision: str, status: CommitStatus) -> None:
        await self._sane(self._inner.set_status(revision, status))

    async def pulls(self, head: str) -> list[Pull]:
        return await self._sane(self._inner.pulls(head))

    async def open_pull(self, proposal: Proposal) -> Pull:
        return await self._sane(self._inner.open_pull(proposal))

    async def update_pull(self, pull: Pull, *, title: str, body: str) -> None:
        await self._sane(self._inner.update_pull(pull, title=title, body=body))

    async def close_pull(self, pull: Pull, *, comment: str) -> None:
        await self._sane(self._inner.close_pull(pull, comment=comment))

    async def commit(self, edits: FileEdits) -> str:
        return await self._sane(self._inner.commit(edits))

    async def close(self) -> None:
        await self._inner.close()

    async def _sane(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            text = f"{self.name} answers in another shape than it documents ({type(error).__name__}); is spec.provider right?"
            raise ForgeFailed(Failure("Unknown", Reaction.BACK_OFF, text)) from error
