"""Who we are to the API server: one object for our own client and for kopf's login.

Reading credentials can block for seconds (an exec plug-in that talks to a cloud), so it happens in a thread, once for all who
wait, and before the old ones expire. A rotated token file is noticed by its modification time and not by waiting for a 401.
The TLS context is one object for life: rotated certificates are loaded into it, so that pooled connections live on.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from canary.core.errors import CanaryError, Rejected, Retryable
from canary.kube.login import SERVICE_ACCOUNT, FixedSource, InClusterSource, KubeconfigSource, Login, Source, fingerprint

log = logging.getLogger(__name__)

LOOK = 10.0
"""Seconds between looks at the files' modification times (three stat calls)."""
SKEW = 30.0
"""Seconds before their expiry at which credentials are replaced."""
CALM = 1.0
"""Seconds between attempts that somebody waits for: a plug-in that fails must not be started once per waiting request."""


class Credentials:
    """Always fresh credentials. Safe to use from several threads; `clock` is Unix time in seconds."""

    def __init__(self, source: Source, *, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._reading = threading.Lock()
        self._waiting = asyncio.Lock()
        self._context: ssl.SSLContext | None = None
        self._look_at = 0.0
        self._renewed_at = float("-inf")
        self._failure: tuple[float, Retryable] | None = None
        self._login = source.read()
        self._learn()

    @property
    def server(self) -> str:
        """URL of the API server without a trailing slash."""
        return self._login.server.rstrip("/")

    @property
    def label(self) -> str:
        """Whose credentials, and for which server; for error messages."""
        return f"{self._source.label} at {self.server}"

    @property
    def server_name(self) -> str:
        """What the server's certificate must be valid for, when it is not the URL's host."""
        return self._login.server_name

    @property
    def proxy(self) -> str:
        """URL of an HTTP proxy, or empty."""
        return self._login.proxy

    async def authorization(self) -> str:
        """The `Authorization` header for a request that starts now; empty for none.

        Raises Retryable when the credentials have expired and cannot be had anew. While the old ones are valid, a source that
        fails is only logged.
        """
        if self._due():
            async with self._waiting:
                if self._due():  # nobody did it while we waited
                    await asyncio.to_thread(self._look)
        return self._login.authorization

    async def renew(self, refused: str) -> bool:
        """After a 401 for the header `refused`: read the source again. True: there is another header now, so try again."""
        async with self._waiting:
            if self._login.authorization == refused and self._clock() >= self._renewed_at + CALM:
                self._renewed_at = self._clock()
                await asyncio.to_thread(self._refresh)
        return self._login.authorization != refused

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context, None for a plain HTTP server. Raises Rejected when a certificate cannot be loaded."""
        if self.server.startswith("https:") and self._context is None:
            self._context = ssl.create_default_context()
            # Python 3.13 demands extensions that the certificates of many clusters, valid for everybody else, do not have.
            self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._load_certificates(self._context)
        return self._context

    def connection_info(self) -> dict[str, Any]:
        """Keyword arguments of `kopf.ConnectionInfo`. May block: kopf asks from a thread, at start and after a 401.

        `expiration` is what the token says of itself, so that kopf asks again in time. kopf knows no `tls-server-name`.
        """
        if self._due():
            self._look()
        login = self._login
        scheme, _, token = login.authorization.partition(" ")
        return {
            "server": self.server,
            "ca_path": login.ca_file or None,
            "insecure": login.insecure,
            "scheme": scheme or None,
            "token": token or None,
            "certificate_path": login.cert_file or None,
            "private_key_path": login.key_file or None,
            "proxy_url": login.proxy or None,
            "expiration": datetime.fromtimestamp(self._expires, tz=UTC) if self._expires is not None else None,
        }

    def _due(self) -> bool:
        """Whether it is time for a look. Cheap and without effect: this runs before every request."""
        return self._clock() >= self._look_at

    def _look(self) -> None:
        now = self._clock()
        if self._failure is not None and now < self._failure[0] + CALM:
            raise self._failure[1]
        expiring = self._expires is not None and now >= self._expires - SKEW
        if expiring or fingerprint(self._login.files) != self._seen:
            self._refresh()
        else:
            self._look_at = now + LOOK

    def _refresh(self) -> None:
        with self._reading:
            try:
                self._login = self._source.read()
            except CanaryError as error:
                now = self._clock()
                if self._expires is not None and now >= self._expires:
                    # the look stays due: nobody may go on with a header that is known to be refused
                    failure = Retryable(f"the credentials have expired and cannot be renewed: {error.message}", hint=error.hint)
                    self._failure = (now, failure)
                    raise failure from error
                self._look_at = min(now + LOOK, self._expires or now + LOOK)
                log.warning("cannot renew the credentials, going on with those we have: %s", error.message)
                return
            self._learn()
            if self._context is not None:
                self._load_certificates(self._context)

    def _learn(self) -> None:
        self._seen = fingerprint(self._login.files)
        self._expires = self._login.expires if self._login.expires is not None else _token_expiry(self._login.authorization)
        now = self._clock()
        self._look_at = now + LOOK
        if self._expires is not None and now < self._expires - SKEW:
            self._look_at = min(self._look_at, self._expires - SKEW)

    def _load_certificates(self, context: ssl.SSLContext) -> None:
        login = self._login
        try:
            if login.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            elif login.ca_file:
                context.load_verify_locations(cafile=login.ca_file)
            if login.cert_file:
                context.load_cert_chain(login.cert_file, login.key_file or None)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(file for file in (login.ca_file, login.cert_file, login.key_file) if file)
            raise Rejected(
                f"cannot use the certificates of {self._source.label} ({files}): {error}",
                hint="they must be PEM, and the key must belong to the certificate",
            ) from error


def _token_expiry(authorization: str) -> float | None:
    """`exp` of a bearer token that is a JWT (service account and OIDC tokens are), in Unix seconds; unverified, as a hint."""
    parts = authorization.removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError):
        return None


def load(
    *,
    kubeconfig: str = "",
    context: str = "",
    master: str = "",
    environ: Mapping[str, str] | None = None,
    service_account: Path = SERVICE_ACCOUNT,
) -> Credentials:
    """Find and read credentials. Blocks; raises Rejected when there are none or they cannot be used.

    Order: the file given, `KUBECONFIG`, the pod's service account, `~/.kube/config`. A context means a kubeconfig, so the
    service account is then not considered. `master` overrides the server's address, and stands alone when nothing is found.
    """
    env = os.environ if environ is None else environ
    paths = kubeconfig or env.get("KUBECONFIG", "")
    if paths:
        return Credentials(KubeconfigSource(paths, context=context, master=master))
    if env.get("KUBERNETES_SERVICE_HOST") and not context:
        return Credentials(InClusterSource(env, folder=service_account, master=master))
    default = Path(env.get("HOME") or "~").expanduser() / ".kube" / "config"
    if default.is_file():
        return Credentials(KubeconfigSource(str(default), context=context, master=master))
    if master:
        return fixed(master if "://" in master else f"http://{master}")
    raise Rejected(
        f"no credentials for a Kubernetes cluster: no --kubeconfig, no KUBECONFIG, not inside a pod, and no {default}",
        hint="pass --kubeconfig FILE, or run in a pod with a service account",
    )


def fixed(server: str, *, token: str = "") -> Credentials:
    """Credentials that are known already, e.g. of an API server inside this process."""
    return Credentials(FixedSource(Login(server=server, authorization=f"Bearer {token}" if token else "")))
