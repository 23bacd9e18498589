"""A mirror whose commits the forge makes, so that it signs them: for branches that take verified commits only, without a key of ours anywhere.

Reading stays git's. A branch that does not exist yet is begun by a push, because no forge makes a commit without a parent; that first commit has no signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from canary.gitops.command import Patience
from canary.gitops.credentials import GitAuth
from canary.gitops.failures import Failure, GitFailed, Reaction
from canary.gitops.forges.base import FileEdits, Forge
from canary.gitops.git import Draft, Mirror, Ref
from canary.gitops.signing import Author


class ForgeMirror(Mirror):
    """See the module."""

    def __init__(self, folder: Path, url: str, auth: GitAuth, forge: Forge, *, patience: Patience | None = None) -> None:
        super().__init__(folder, url, auth, patience=patience)
        self._forge = forge

    async def publish(self, branch: str, parent: str | None, drafts: Sequence[Draft], author: Author, *, expected: str | None) -> list[str]:
        """One after the other: a crash in between leaves the first ones, which say themselves what they are."""
        if isinstance(branch, Ref):  # some would take its name for that of a branch
            text = f"the forge makes commits on branches only, and {branch} is none; sign with a key (ssh or gpg), or name a branch"
            raise GitFailed(Failure("Unsupported", Reaction.BLOCKED, text))
        if parent is None:
            return await super().publish(branch, parent, drafts, author, expected=expected)
        if expected != parent:
            await self.push(branch, parent, expected=expected)
        commits: list[str] = []
        tip = parent
        for draft in drafts:
            if commits:
                fetched = await self.fetch(branch)
                if fetched is None or fetched.oid != tip:
                    raise GitFailed(Failure("Stale", Reaction.RECOMPUTE, f"{branch} moved between two commits"))
            replaced = await self.blob_ids(tip, draft.edits)
            edits = {path: content for path, content in draft.edits.items() if content is not None or path in replaced}
            tip = await self._forge.commit(FileEdits(branch, tip, draft.message, edits, replaced, author.name, author.email))
            commits.append(tip)
        return commits
