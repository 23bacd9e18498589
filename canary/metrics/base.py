"""The seam of a metric source: one rendered query in, one sample out.

A source can fail in two ways that are told apart, because something depends on it: it *refuses* or answers nonsense (`Refused`:
that is about one query), or it cannot be had at all (`Unreachable`: that is about the source, and the breaker counts it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from canary.core.errors import CanaryError, Rejected, Retryable
from canary.core.model import Sample
from canary.kube.cluster import Cluster

LOOKBACK = 10
"""How many intervals of the metric the sources with a time window of their own look back, as upstream."""


class Unreachable(Retryable):
    """The source was not there: no connection, no answer in time, or an answer that says "not now".

    `timed_out`: it did not answer in time, which may be the query's own fault. `retry_after`: seconds that it asked us to wait.
    """

    def __init__(self, message: str, *, timed_out: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.timed_out = timed_out
        self.retry_after = retry_after


class Refused(CanaryError):  # noqa: N818 - the names of errors say what happened
    """The source answered, and its answer is of no use: an error, no JSON, not one number."""

    reason = "Refused"


@dataclass(frozen=True, slots=True)
class Source:
    """Where to ask: `spec.provider` of a MetricTemplate, or the built-in Prometheus.

    `headers` maps a header to its values; `secret` holds the decoded data of `secretRef` (empty without one). `cluster` and the template's
    `namespace` are there for the providers that ask the Kubernetes API; they are no part of what makes two sources the same.
    """

    type: str
    address: str = ""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secret: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    region: str = ""
    insecure_skip_verify: bool = False
    cluster: Cluster | None = field(default=None, repr=False, compare=False)
    namespace: str = field(default="", compare=False)

    def key(self, name: str) -> str:
        """A key of the Secret, without white space around it; empty when it is missing."""
        return self.secret.get(name, b"").decode(errors="replace").strip()

    def needed(self, name: str) -> str:
        """A key of the Secret that must be there. Raises Rejected, naming key and provider."""
        if value := self.key(name):
            return value
        where = "its Secret has none" if self.secret else "it has no secretRef"
        raise Rejected(f"a {self.type} source needs the key `{name}` in its Secret: {where}", hint="see spec.provider.secretRef")

    @property
    def identity(self) -> str:
        """A digest of everything that decides what the source answers: type, place, headers, credentials."""
        parts: list[bytes] = [self.type.encode(), self.address.encode(), self.region.encode(), str(self.insecure_skip_verify).encode()]
        for name, values in sorted(self.headers.items()):
            parts += [b"header", name.encode(), *(value.encode() for value in values)]
        for name, data in sorted(self.secret.items()):
            parts += [b"secret", name.encode(), data]
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:  # with its length, so that no two lists of parts read the same
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    def scrubbed(self, text: str) -> str:
        """`text` without any value of the Secret: sources like to repeat the credentials that they refuse."""
        for data in sorted(self.secret.values(), key=len, reverse=True):
            value = data.decode(errors="replace").strip()
            if len(value) >= 4:
                text = text.replace(value, "***")
        return text


class MetricProvider(Protocol):
    """One kind of source."""

    @property
    def patience(self) -> float:
        """Seconds that one query of this kind may take when the canary's interval leaves room for it."""
        ...

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:
        """Run the rendered query. `window_seconds` is the metric's interval; `timeout` covers everything, retries included.

        Raises Unreachable (the source cannot be had), Refused (its answer is of no use), Rejected (the source or the query is
        unusable as it is written). A provider may return Refused's text as `Sample.error` instead.
        """
        ...

    async def online(self, source: Source, *, timeout: float) -> str:
        """Empty when the source answers; else what is wrong, in one sentence. Raises as `query`."""
        ...

    async def close(self) -> None:
        """Give connections and threads back."""
        ...
