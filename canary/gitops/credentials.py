"""From a Secret to what git needs: environment variables and, for keys, files that only we can read.

Secrets are Flux's, unchanged: `username` and `password`, `bearerToken`, `identity` with `known_hosts`, `ca.crt`. Nothing of them ever appears in
arguments or in a repository's configuration.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from canary.core.errors import Rejected


@dataclass(frozen=True, slots=True)
class GitAuth:
    """Environment for git, and the texts that must never be shown."""

    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


def auth_from(url: str, data: Mapping[str, bytes], folder: Path) -> GitAuth:
    """Credentials for this URL. Raises Rejected when the Secret does not fit the URL. Files are written into `folder`."""
    text = {key: value.decode(errors="replace").strip() for key, value in data.items()}
    env: dict[str, str] = {}
    if "ca.crt" in text:
        env["GIT_SSL_CAINFO"] = str(_private(folder / "ca.crt", data["ca.crt"]))
    if url.startswith(("http://", "https://")):
        return _http(url, text, env)
    return _ssh(text, data, folder, env)


def _http(url: str, text: Mapping[str, str], env: dict[str, str]) -> GitAuth:
    if not text:
        return GitAuth(env)
    if token := text.get("bearerToken"):
        header, secrets = f"Authorization: Bearer {token}", [token]
    elif "username" in text and "password" in text:
        pair = base64.b64encode(f"{text['username']}:{text['password']}".encode()).decode()
        header, secrets = f"Authorization: Basic {pair}", [text["password"], pair]
    elif "ca.crt" in text:
        return GitAuth(env)
    else:
        raise Rejected("the Git Secret fits no http(s) URL", hint="give it `username` and `password`, or `bearerToken`")
    scheme, _, rest = url.partition("://")
    env |= {"GIT_CONFIG_KEY_AUTH": f"http.{scheme}://{rest.partition('/')[0]}/.extraHeader", "GIT_CONFIG_VALUE_AUTH": header}
    return GitAuth(env, tuple(secrets))


def _ssh(text: Mapping[str, str], data: Mapping[str, bytes], folder: Path, env: dict[str, str]) -> GitAuth:
    if "identity" not in text or "known_hosts" not in text:
        raise Rejected("an ssh URL needs a Secret with `identity` and `known_hosts`")
    key = _private(folder / "identity", data["identity"].rstrip() + b"\n")
    hosts = _private(folder / "known_hosts", data["known_hosts"])
    options = ("IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={hosts}", "ConnectTimeout=10")
    command = ["ssh", "-i", str(key), *(part for option in options for part in ("-o", option))]
    env["GIT_SSH_COMMAND"] = shlex.join(command)
    return GitAuth(env, (text["identity"],))


def _private(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path
