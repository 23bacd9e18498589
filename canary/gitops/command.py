"""One `git` process: its environment, its patience, its end.

The environment is built from nothing: no system or user configuration, no hooks, no prompt, no helper, no protocol but HTTP and ssh, no
redirect (it would carry the credentials along). Credentials go by environment, because arguments are visible to everybody on
the node. Each process leads a group of its own, so that a hung ssh or remote helper dies with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from canary.gitops.credentials import GitAuth
from canary.gitops.failures import Failure, GitFailed, Reaction, classify

MAX_OUTPUT = 256 * 1024 * 1024
"""Bytes of output after which a command is given up."""
MAX_COMPLAINT = 16 * 1024
"""Bytes of standard error that are kept, the last ones: a server may send any amount of text."""
_CONFIG = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",  # one process less after each fetch, which would find nothing to do
    "http.followRedirects": "false",
    "protocol.allow": "never",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "protocol.ssh.allow": "always",
    "remote.origin.promisor": "true",
    "remote.origin.partialclonefilter": "blob:none",
}
_PASSED = (
    "PATH",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for a command on local data, for one that talks to the server, and for a server that sends nothing (HTTP)."""

    local: float = 120.0
    network: float = 900.0
    silence: int = 30


@dataclass(frozen=True, slots=True)
class Git:
    """Runs git in the bare repository at `path`, whose remote `origin` is `url`."""

    path: Path
    url: str
    auth: GitAuth
    patience: Patience = Patience()

    async def run(self, *arguments: str, stdin: bytes = b"", network: bool = False) -> bytes:
        """Standard output. Raises GitFailed. The whole process group dies with our patience or our task."""
        process = await asyncio.create_subprocess_exec(
            "git",
            "--git-dir",
            str(self.path),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.path.parent,
            env=self._environment(),
            start_new_session=True,
        )
        limit = self.patience.network if network else self.patience.local
        finished = False
        try:
            async with asyncio.timeout(limit):
                out, complaint = await _converse(process, stdin)
                await process.wait()
            finished = True
        except TimeoutError:
            reason = "Unreachable" if network else "Local"
            raise GitFailed(Failure(reason, Reaction.BACK_OFF, f"git {arguments[0]} did not end within {limit:g} s")) from None
        finally:
            if not finished:
                await _kill(process)
        if process.returncode:
            # `push --porcelain` tells of refusals on standard output
            said = complaint + (out if arguments[0] == "push" else b"")
            text = said.decode(errors="replace") or f"git {arguments[0]} ended with {process.returncode}"
            raise GitFailed(classify(text, secrets=self.auth.secrets))
        return out

    def _environment(self) -> dict[str, str]:
        config = {**_CONFIG, "remote.origin.url": self.url, **self.auth.config}
        pairs: dict[str, str] = {"GIT_CONFIG_COUNT": str(len(config))}
        for number, (name, value) in enumerate(config.items()):
            pairs |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return {
            **{name: os.environ[name] for name in _PASSED if name in os.environ},
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
            "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
            "GIT_HTTP_LOW_SPEED_TIME": str(self.patience.silence),
            **pairs,
            **self.auth.env,
        }


async def _converse(process: asyncio.subprocess.Process, stdin: bytes) -> tuple[bytes, bytes]:
    """Feed and read at the same time, within bounds; `communicate` has none."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    out, complaint, _ = await asyncio.gather(_all(process.stdout), _last(process.stderr), _feed(process.stdin, stdin))
    return out, complaint


async def _feed(pipe: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may end before it has read everything
        pipe.write(data)
        await pipe.drain()
    pipe.close()


async def _all(pipe: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while part := await pipe.read(1 << 20):
        size += len(part)
        if size > MAX_OUTPUT:
            raise GitFailed(Failure("TooLarge", Reaction.BLOCKED, f"git sent more than {MAX_OUTPUT >> 20} MiB"))
        parts.append(part)
    return b"".join(parts)


async def _last(pipe: asyncio.StreamReader) -> bytes:
    kept = b""
    while part := await pipe.read(1 << 16):
        kept = (kept + part)[-MAX_COMPLAINT:]
    return kept


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # the group, because an ssh grandchild would keep the pipes open
    await process.wait()
