"""Keptn: the value of a KeptnMetric, or the verdict of an Analysis, through the Kubernetes API.

The query is `<keptnmetric|analysis>/<namespace>/<name>[/<duration>[/key=value;key=value]]`, read in lower case as a whole, as upstream. An
Analysis is an object of ours: made, waited for, and taken away again, whatever happens in between.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass
from typing import Any

from canary.core.errors import CanaryError, NotFound, Rejected, Retryable
from canary.core.model import Sample
from canary.kube.cluster import Cluster
from canary.kube.resource import Object, Resource
from canary.metrics.base import Refused, Source, Unreachable
from canary.metrics.values import excerpt, number, part

KEPTN_METRICS = Resource("metrics.keptn.sh", "v1beta1", "keptnmetrics", "KeptnMetric")
ANALYSES = Resource("metrics.keptn.sh", "v1beta1", "analyses", "Analysis")
KINDS = {"keptnmetric": KEPTN_METRICS, "keptnmetrics": KEPTN_METRICS, "analysis": ANALYSES, "analyses": ANALYSES}
FORM = "write keptnmetric/<namespace>/<name> or analysis/<namespace>/<name>[/<duration>[/key=value;key=value]]"
POLL = 0.5
LABELS = {"app.kubernetes.io/managed-by": "canary"}
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a query names. `duration` and `args` are for an Analysis."""

    resource: Resource
    namespace: str
    name: str
    duration: str = "1m"
    args: tuple[tuple[str, str], ...] = ()


class KeptnProvider:
    """No Secret, no address: the operator's own rights count. An Analysis may take ten seconds."""

    patience = 10.0

    def __init__(self) -> None:
        self._removals: set[asyncio.Task[None]] = set()

    async def query(self, source: Source, text: str, *, window_seconds: float, timeout: float) -> Sample:  # noqa: ARG002
        wanted = parse(text)
        if source.cluster is None:
            raise Rejected("a keptn source can only be asked by an operator in a cluster")
        try:
            async with asyncio.timeout(timeout):
                if wanted.resource is KEPTN_METRICS:
                    value = picked(await source.cluster.read(KEPTN_METRICS, wanted.namespace, wanted.name))
                else:
                    value = await self._analysed(source.cluster, wanted)
        except TimeoutError:
            what = f"{wanted.resource.kind} {wanted.namespace}/{wanted.name}"
            raise Refused(f"the {what} gave no result within {timeout:g} s") from None
        except NotFound as error:
            hint = "install Keptn's metrics operator, or correct the query"
            raise Refused(error.message, hint=hint) from error
        except Retryable as error:
            raise Unreachable(error.message) from error
        return Sample(value=value, query=text)

    async def online(self, source: Source, *, timeout: float) -> str:  # noqa: ARG002
        """Nothing to ask, as upstream: without the Kubernetes API there would be no canary either."""
        return ""

    async def close(self) -> None:
        """Wait for the Analyses that are being taken away."""
        await asyncio.gather(*self._removals, return_exceptions=True)

    async def _analysed(self, cluster: Cluster, wanted: Wanted) -> float:
        body = analysis(wanted, secrets.token_hex(4))
        name = body["metadata"]["name"]
        try:
            await cluster.create(ANALYSES, body)
            while True:
                status = (await cluster.read(ANALYSES, wanted.namespace, name)).get("status") or {}
                if str(status.get("state", "")).lower() == "completed":
                    return 1.0 if status.get("pass") is True else 0.0
                await asyncio.sleep(POLL)
        finally:
            # In a task of its own: a cancelled check, or one that ran out of time, must not leave the object behind.
            removal = asyncio.create_task(_remove(cluster, wanted.namespace, name))
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)
            await asyncio.shield(removal)


async def _remove(cluster: Cluster, namespace: str, name: str) -> None:
    try:
        await cluster.delete(ANALYSES, namespace, name)
    except CanaryError:
        return  # it is labelled as ours, and says nothing to anybody: not worth the verdict that was reached


def parse(text: str) -> Wanted:
    """What the query names. Raises Rejected."""
    kind, *rest = text.strip().lower().split("/", 4)
    if kind not in KINDS or len(rest) < 2 or not all(_NAME.fullmatch(name) for name in rest[:2]):
        raise Rejected(f"{excerpt(text)!r} is no keptn query", hint=FORM)
    resource, (namespace, name) = KINDS[kind], rest[:2]
    if resource is KEPTN_METRICS:
        if len(rest) > 2:
            raise Rejected(f"a keptn query for a metric ends with its name: {excerpt(text)}", hint=FORM)
        return Wanted(resource, namespace, name)
    duration = rest[2] if len(rest) > 2 and rest[2] else "1m"
    if not _DURATION.fullmatch(duration):
        raise Rejected(f"{duration!r} in a keptn query is no duration", hint=FORM)
    pairs = [pair.partition("=") for pair in (rest[3] if len(rest) > 3 else "").split(";") if pair]
    if any(not key or not equals for key, equals, _ in pairs):
        raise Rejected(f"the arguments {rest[3]!r} of a keptn query are not key=value;key=value", hint=FORM)
    return Wanted(resource, namespace, name, duration, tuple((key, value) for key, _, value in pairs))


def analysis(wanted: Wanted, nonce: str) -> Object:
    """The Analysis that asks for the named definition."""
    body = ANALYSES.head(wanted.namespace, f"{wanted.name[:200].rstrip('.-')}-{nonce}")
    body["metadata"]["labels"] = dict(LABELS)
    body["spec"] = {"timeframe": {"recent": wanted.duration}, "args": dict(wanted.args), "analysisDefinition": {"name": wanted.name}}
    return body


def picked(body: Any) -> float | None:
    """`status.value` of a KeptnMetric, which is a text; None before the first one. Raises Refused."""
    status = part(body, "status", dict)
    value = status.get("value")
    if value in (None, ""):
        if said := status.get("errMsg"):
            raise Refused(f"keptn could not get the metric: {excerpt(said)}")
        return None
    return number(value, what="status.value", texts=True)
