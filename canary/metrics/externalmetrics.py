"""The Kubernetes external metrics API: what an adapter (KEDA, the Prometheus or Datadog adapter) serves to autoscalers.

The query is `[<namespace>/]<metric>[?labelSelector=<url encoded>]`, the namespace `default` by default. Without an address the operator asks
the API server with its own rights. With an address only the Secret's token is sent: upstream would send the operator's own token to
whatever host a template names.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from canary.core.errors import NotFound, Rejected, Retryable
from canary.core.model import Sample
from canary.kube.resource import Resource
from canary.metrics.base import Refused, Source, Unreachable
from canary.metrics.http import HttpProvider, Request, base_url, deadline_in, headers_of
from canary.metrics.values import excerpt, kind_of, only, part

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
CA_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
FORM = "write [<namespace>/]<metric>[?labelSelector=<url encoded>]"
PROBE = "dummy-metric"
SCALES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]|[KMGTPE]i)?")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a query names; `selector` is decoded."""

    namespace: str
    metric: str
    selector: str = ""


class ExternalmetricsProvider(HttpProvider):
    """Secret (optional): `token`."""

    def __init__(self, *, clock: Callable[[], float] = time.time, environ: Mapping[str, str] | None = None) -> None:
        super().__init__(clock=clock)
        self._environ = os.environ if environ is None else environ

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:  # noqa: ARG002
        return Sample(value=picked(await self._list(source, parse(text), timeout)), query=text)

    async def online(self, source: Source, *, timeout: float) -> str:
        """A metric that nobody has is asked for: only an adapter can say that it does not know it.

        Upstream takes that answer, too, for "offline".
        """
        try:
            await self._list(source, Wanted(source.namespace or "default", PROBE), timeout)
        except (NotFound, Refused) as error:
            # what the server says stands behind what was asked
            return "" if PROBE in error.message.partition(": ")[2] else error.message
        return ""

    async def _list(self, source: Source, wanted: Wanted, seconds: float) -> Any:
        params = {"labelSelector": wanted.selector} if wanted.selector else {}
        # One path segment whatever it holds: an adapter's names may contain `|` and the like.
        resource = Resource(GROUP, VERSION, quote(wanted.metric, safe=""), "ExternalMetricValueList")
        if source.cluster is not None and not source.address and not source.secret:
            try:
                return await source.cluster.read(resource, wanted.namespace, "", params=params)
            except NotFound as error:
                hint = "install an adapter for external metrics, or correct the query"
                raise NotFound(error.message, hint=hint) from error
            except Retryable as error:
                raise Unreachable(error.message) from error
        token = source.key("token")
        request = Request(
            self._server(source) + resource.path(wanted.namespace),
            params=tuple(params.items()),
            headers=headers_of(source, {"Authorization": f"Bearer {token}" if token else "", "Accept": "application/json"}),
            verify=False if source.insecure_skip_verify else self._trust(source),
        )
        return (await self._http.send(request, deadline=deadline_in(seconds))).json()

    def _server(self, source: Source) -> str:
        """The address, else the API server of the pod's cluster, for a token of the template's own."""
        if source.address:
            return base_url(source)
        host, port = self._environ.get("KUBERNETES_SERVICE_HOST", ""), self._environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise Rejected("an externalmetrics source needs an address outside a cluster", hint="set spec.provider.address")
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    @staticmethod
    def _trust(source: Source) -> bool | str:
        return CA_FILE if not source.address and Path(CA_FILE).exists() else True


def parse(text: str) -> Wanted:
    """What the query names. Raises Rejected."""
    path, _, query = text.strip().partition("?")
    namespace, slash, metric = path.partition("/")
    if not slash:
        namespace, metric = "default", path
    if not metric or "/" in metric or not _NAMESPACE.fullmatch(namespace) or metric in {".", ".."}:
        raise Rejected(f"{excerpt(text)!r} is no query for an external metric", hint=FORM)
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    if set(pairs) - {"labelSelector"}:
        raise Rejected(f"a query for an external metric takes only labelSelector: {excerpt(query)}", hint=FORM)
    return Wanted(namespace, metric, pairs.get("labelSelector", ""))


def picked(body: Any) -> float | None:
    """The value of the only item, a quantity such as `42` or `1500m`. Raises Refused."""
    items = part(body, "items", list)
    one = only(items, [part(each, "metricLabels", dict) or part(each, "metricName", str) for each in items])
    if one is None or (value := part(one, "value", str)) == "":
        return None
    return quantity(value)


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number. Raises Refused."""
    found = _QUANTITY.fullmatch(text)
    if not found:
        raise Refused(f"the metric's value is {kind_of(text)} that is no quantity: {excerpt(text)}")
    digits, suffix = found.group(1), found.group(2) or ""
    try:
        scale = Decimal(2) ** BINARY[suffix] if suffix in BINARY else Decimal(10) ** SCALES[suffix]
        return float(Decimal(digits) * scale)
    except (InvalidOperation, OverflowError):
        raise Refused(f"the metric's value is no quantity: {excerpt(text)}") from None
