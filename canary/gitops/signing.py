"""Signatures of commits and tags by a key of ours, SSH or GPG, with git's own means.

`fast-import`, which makes the commits, cannot sign; so each is made a second time by `commit-tree`, which can. Keys are in a private temporary folder while they are
used and at no other time; GnuPG gets a home of its own there, and its agent is ended with it. A library was rejected: what a server verifies is what git
writes. SSH is the better choice: it needs no program but the one that git's transport needs anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from canary.core.errors import Rejected
from canary.gitops.command import Git
from canary.gitops.credentials import GitAuth, private_file
from canary.gitops.failures import Failure, GitFailed, Reaction, scrub

PROGRAM = 20.0
"""Seconds for a program of GnuPG or OpenSSH."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who commits."""

    name: str
    email: str


class Signer(Protocol):
    """Signs what a mirror makes."""

    def ready(self, git: Git) -> contextlib.AbstractAsyncContextManager[Git]:
        """Git that can sign, as long as the context lasts. Raises GitFailed `SigningFailed`."""
        ...

    async def signed(self, git: Git, commits: Sequence[str], author: Author) -> list[str]:
        """The same chain of commits, signed; their ids."""
        ...


@dataclass(frozen=True, slots=True)
class KeySigner:
    """With a key from a Secret. `data`: its decoded data."""

    gpg: bool
    data: Mapping[str, bytes] = field(repr=False)

    @contextlib.asynccontextmanager
    async def ready(self, git: Git) -> AsyncIterator[Git]:
        """See Signer."""
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="canary-key-"))
        try:
            prepared = await (self._gpg(folder) if self.gpg else self._ssh(folder))
            config = {**git.auth.config, **prepared.config}
            yield replace(git, auth=GitAuth({**git.auth.env, **prepared.env}, config, (*git.auth.secrets, *prepared.secrets)))
        finally:
            if self.gpg:
                with contextlib.suppress(GitFailed):  # its agent would outlive its home
                    await asyncio.shield(_program(["gpgconf", "--homedir", str(folder), "--kill", "all"]))
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def signed(self, git: Git, commits: Sequence[str], author: Author) -> list[str]:
        """See Signer."""
        made: dict[str, str] = {}
        async with self.ready(committing(git, author)) as signing:
            for commit in commits:
                made[commit] = await _again(signing, commit, made)
        return list(made.values())

    async def _ssh(self, folder: Path) -> GitAuth:
        key = self.data.get("identity", b"").strip()
        if not key:
            raise _failed("the Secret of identity.signing has no `identity`: a private SSH key")
        if self.data.get("password", b"").strip():
            raise _failed("the signing key has a passphrase (`password`); use a key without one")
        path = await asyncio.to_thread(private_file, folder / "key", key + b"\n")
        await _program(["ssh-keygen", "-y", "-P", "", "-f", str(path)])  # says at once, and better than git, that a key is of no use
        return GitAuth({}, {"gpg.format": "ssh", "user.signingkey": str(path)}, (key.decode(errors="replace"),))

    async def _gpg(self, folder: Path) -> GitAuth:
        key = self.data.get("git.asc", b"").strip()
        if not key:
            raise _failed("the Secret of identity.signing has no `git.asc`: an armored private GPG key")
        phrase = self.data.get("passphrase", b"").strip()
        options = ["batch", "no-tty", "pinentry-mode loopback", f"passphrase-file {folder / 'passphrase'}"]
        await asyncio.to_thread(private_file, folder / "passphrase", phrase + b"\n")
        await asyncio.to_thread(private_file, folder / "gpg.conf", "\n".join([*options, ""]).encode())
        home = ["gpg", "--homedir", str(folder)]
        await _program([*home, "--import"], stdin=key + b"\n")
        listed = await _program([*home, "--with-colons", "--list-secret-keys"])
        found = re.search(r"^fpr:{9}([0-9A-F]+):", listed, re.MULTILINE)
        if not found:
            raise _failed("`git.asc` of the signing Secret holds no private key")
        secrets = tuple(text for text in (phrase.decode(errors="replace"),) if text)
        return GitAuth({"GNUPGHOME": str(folder)}, {"gpg.format": "openpgp", "user.signingkey": found[1]}, secrets)


def key_signer(*, gpg: bool, data: Mapping[str, bytes]) -> KeySigner:
    """Raises Rejected where signing cannot work, whatever the key."""
    program = "gpg" if gpg else "ssh-keygen"
    if shutil.which(program) is None:
        raise Rejected(f"there is no program `{program}` beside this operator", hint="use the other kind of key, or an image that has it")
    return KeySigner(gpg, data)


def committing(git: Git, author: Author) -> Git:
    """Git that commits and tags as this author."""
    env = {
        f"GIT_{role}_{part}": text for role in ("AUTHOR", "COMMITTER") for part, text in (("NAME", author.name), ("EMAIL", author.email))
    }
    return replace(git, auth=GitAuth({**git.auth.env, **env}, git.auth.config, git.auth.secrets))


async def _again(git: Git, commit: str, made: Mapping[str, str]) -> str:
    """The commit once more, with a signature, on what has become of its parent."""
    raw = (await git.run("cat-file", "commit", commit)).decode(errors="surrogateescape")
    head, _, message = raw.partition("\n\n")
    lines = [line.split(" ") for line in head.splitlines()]
    tree = next(line[1] for line in lines if line[0] == "tree")
    parents = [part for line in lines if line[0] == "parent" for part in ("-p", made.get(line[1], line[1]))]
    date = " ".join(next(line[-2:] for line in lines if line[0] == "committer"))
    dated = replace(git, auth=replace(git.auth, env={**git.auth.env, "GIT_AUTHOR_DATE": f"@{date}", "GIT_COMMITTER_DATE": f"@{date}"}))
    try:
        out = await dated.run("commit-tree", "-S", *parents, tree, stdin=message.encode(errors="surrogateescape"))
    except GitFailed as error:
        raise _failed(f"the commit could not be signed: {error.failure.text}") from error
    return out.decode().strip()


async def _program(command: Sequence[str], *, stdin: bytes = b"") -> str:
    """Standard output of a helper. Raises GitFailed `SigningFailed`."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise _failed(f"there is no program `{command[0]}` beside this operator") from None
    try:
        async with asyncio.timeout(PROGRAM):
            out, complaint = await process.communicate(stdin)
    except TimeoutError:
        raise _failed(f"{command[0]} did not end within {PROGRAM:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        # what it prints names the temporary folder, which means nothing to anybody
        text = re.sub(r"\S*canary-key-\w+\S*", "the key", complaint.decode(errors="replace"))
        raise _failed(f"the key in the signing Secret cannot be used: {text}")
    return out.decode(errors="replace")


def _failed(text: str) -> GitFailed:
    return GitFailed(Failure("SigningFailed", Reaction.BLOCKED, scrub(text)))
