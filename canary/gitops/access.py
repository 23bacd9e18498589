"""What the Secrets of a sink make possible: a mirror of its repository, its forge, a signature.

Made anew when sink or Secret change, kept otherwise: a mirror is worth keeping, and so are connections. Which Secrets were used, at which version, is what
tells later whether somebody has mended one.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from canary.api.gitsink import GitSink, SigningType
from canary.core.errors import CanaryError
from canary.gitops.credentials import GitAuth, auth_from
from canary.gitops.failures import as_failure
from canary.gitops.forge_commits import ForgeMirror
from canary.gitops.forges.base import Forge, ForgeFailed
from canary.gitops.forges.client import PATIENCE
from canary.gitops.forges.registry import forge_for
from canary.gitops.git import Mirror
from canary.gitops.queue import Key
from canary.gitops.signing import key_signer
from canary.gitops.tools import Tools
from canary.kube.resource import SECRETS


class Access:
    """Of one sink. `used`: versions of its Secrets by name; empty for one that could not be read."""

    def __init__(self, key: Key, tools: Tools) -> None:
        self.used: dict[str, str] = {}
        self._namespace = key[0]
        self._tools = tools
        self._folder = tools.folder / hashlib.sha256("/".join(key).encode()).hexdigest()[:16]
        self._mirror: Mirror | None = None
        self._forge: Forge | None = None
        self._mirror_of: tuple[object, ...] = ()
        self._forge_of: tuple[object, ...] = ()

    async def mirror(self, sink: GitSink) -> Mirror:
        """With credentials as they are now. Raises CanaryError, and ForgeFailed where the forge signs."""
        self.used = {}
        url, signing = sink.spec.repository.url, sink.spec.identity.signing
        data = await self._secret(_repository_secret(sink))
        key = await self._secret(signing.secret_ref.name if signing.secret_ref else _repository_secret(sink))
        forge = await self.forge(sink) if signing.type is SigningType.API else None
        made_of = (url, signing, forge, *sorted(self.used.items()))
        if self._mirror is None or self._mirror_of != made_of:
            folder = self._folder / hashlib.sha256(url.encode()).hexdigest()[:16]
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
            auth = await asyncio.to_thread(auth_from, url, _of_transport(data), folder)
            self._mirror = self._made(sink, folder, auth, forge, key)
            self._mirror_of = made_of
        return self._mirror

    async def forge(self, sink: GitSink) -> Forge:
        """With credentials as they are now. Raises ForgeFailed, also for what the Secret lacks: only what needs the forge suffers from that."""
        provider, url = sink.spec.provider, sink.spec.repository.url
        try:
            name = provider.secret_ref.name if provider.secret_ref else _repository_secret(sink)
            data = await self._secret(name)
            made_of = (url, provider, name, self.used.get(name))
            if self._forge is None or self._forge_of != made_of:
                await self._close_forge()
                patience = min(PATIENCE, self._tools.patience.network)
                self._forge = forge_for(
                    url, kind=provider.type, api=provider.api, secret=data, throttles=self._tools.throttles, patience=patience
                )
                self._forge_of = made_of
        except CanaryError as error:
            raise ForgeFailed(as_failure(error)) from error
        return self._forge

    async def drop(self) -> None:
        """Forget the mirror, for local damage."""
        if self._mirror:
            await self._mirror.drop()

    async def close(self, *, for_good: bool = True) -> None:
        """Give connections back; `for_good`: and remove what is on the disk."""
        await self._close_forge()
        if for_good:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _made(self, sink: GitSink, folder: Path, auth: GitAuth, forge: Forge | None, key: Mapping[str, bytes]) -> Mirror:
        url, signing = sink.spec.repository.url, sink.spec.identity.signing.type
        patience = self._tools.patience
        if forge is not None:
            return ForgeMirror(folder, url, auth, forge, patience=patience)
        signs = signing in {SigningType.SSH, SigningType.GPG}
        signer = key_signer(gpg=signing is SigningType.GPG, data=key) if signs else None
        return Mirror(folder, url, auth, patience=patience, signer=signer)

    async def _close_forge(self) -> None:
        forge, self._forge = self._forge, None
        if forge:
            await forge.close()

    async def _secret(self, name: str) -> dict[str, bytes]:
        """Decoded data; empty without a name."""
        if not name:
            return {}
        self.used[name] = ""
        body = await self._tools.cluster.read(SECRETS, self._namespace, name)
        self.used[name] = body["metadata"]["resourceVersion"]
        return {key: base64.b64decode(value) for key, value in (body.get("data") or {}).items()}


def _repository_secret(sink: GitSink) -> str:
    ref = sink.spec.repository.secret_ref
    return ref.name if ref else ""


def _of_transport(data: Mapping[str, bytes]) -> dict[str, bytes]:
    """Without what is there for signing or for the forge only: one Secret may hold all of it."""
    kept = {key: value for key, value in data.items() if key not in {"token", "git.asc", "passphrase"}}
    return kept or dict(data)  # a Secret without anything for git is a mistake, which must be said
