"""From a Secret to what git needs: environment variables and, for keys, files that only we can read.

Secrets are Flux's, unchanged: `username` and `password`, `bearerToken`, `identity` with `known_hosts`, `ca.crt`. Nothing of them ever appears in
arguments or in a repository's configuration, and nothing in the representation of an object of ours.
"""

from __future__ import annotations

import base64
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from canary.core.errors import Rejected


@dataclass(frozen=True, slots=True)
class GitAuth:
    """Environment and configuration for git, and the texts that must never be shown."""

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def auth_from(url: str, data: Mapping[str, bytes], folder: Path) -> GitAuth:
    """Credentials for this URL. Raises Rejected when the Secret does not fit the URL. Files are written into `folder`."""
    text = {key: value.decode(errors="replace").strip() for key, value in data.items()}
    if not url.startswith(("http://", "https://")):
        return _ssh(text, data, folder)
    env = {"GIT_SSL_CAINFO": str(private_file(folder / "ca.crt", data["ca.crt"]))} if "ca.crt" in text else {}
    return _http(url, text, env)


def _http(url: str, text: Mapping[str, str], env: dict[str, str]) -> GitAuth:
    secrets: tuple[str, ...]
    if token := text.get("bearerToken"):
        header, secrets = f"Authorization: Bearer {token}", (token,)
    elif "username" in text and "password" in text:
        pair = base64.b64encode(f"{text['username']}:{text['password']}".encode()).decode()
        header, secrets = f"Authorization: Basic {pair}", (text["password"], pair)
    elif not text or "ca.crt" in text:
        return GitAuth(env)
    else:
        raise Rejected("the Git Secret fits no http(s) URL", hint="give it `username` and `password`, or `bearerToken`")
    if any(ord(char) < 32 for char in header):
        raise Rejected("the token of the Git Secret holds a line break or another control character")
    return GitAuth(env, {f"http.{url}.extraHeader": header}, secrets)


def _ssh(text: Mapping[str, str], data: Mapping[str, bytes], folder: Path) -> GitAuth:
    if not text.get("identity") or not text.get("known_hosts"):
        raise Rejected("an ssh URL needs a Secret with `identity` and `known_hosts`")
    if "password" in text:
        raise Rejected("the key in the Git Secret has a passphrase (`password`)", hint="use a deploy key without one")
    key = private_file(folder / "identity", data["identity"].rstrip() + b"\n")
    hosts = private_file(folder / "known_hosts", data["known_hosts"].rstrip() + b"\n")
    options = (
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={hosts}",
        "GlobalKnownHostsFile=/dev/null",
        "ConnectTimeout=10",
        "ServerAliveInterval=15",
    )
    command = ["ssh", "-F", os.devnull, "-i", str(key), *(part for option in options for part in ("-o", option))]
    return GitAuth({"GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}, {}, (text["identity"],))


def private_file(path: Path, content: bytes) -> Path:
    """A file that nobody else could read at any moment, also when it existed before."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path
