"""A server that answers as a metric source does, and a canary that asks it: everything between a MetricTemplate and the wire is real."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from canary.api.canary import Canary
from canary.kube.resource import METRIC_TEMPLATES, SECRETS
from canary.metrics.asker import Asker
from tests.fakes.cluster import FakeCluster

# The key of RFC 7515, appendix A.2: published, so it protects nothing.
RFC_N = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b"
    "32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5"
    "IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
)
RFC_D = (
    "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-G"
    "jBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_"
    "jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ"
)


def number(text):
    return int.from_bytes(base64.urlsafe_b64decode(text + "=="), "big")


def der(tag, content):
    length = len(content)
    size = bytes([length]) if length < 128 else bytes([0x82]) + length.to_bytes(2, "big")
    return bytes([tag]) + size + content


def integer(value):
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def pem(*, pkcs8=True):
    """The RFC's key as a PEM; the parts that nobody reads are zero."""
    key = der(0x30, b"".join(integer(value) for value in (0, number(RFC_N), 65537, number(RFC_D), 0, 0, 0, 0, 0)))
    if pkcs8:
        rsa = der(0x30, bytes.fromhex("06092a864886f70d0101010500"))
        key = der(0x30, integer(0) + rsa + der(0x04, key))
    kind = "PRIVATE KEY" if pkcs8 else "RSA PRIVATE KEY"
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(key).decode()}-----END {kind}-----\n"


@dataclass
class Seen:
    """One request on the wire."""

    method: str
    path: str
    query: dict
    headers: dict
    body: bytes
    raw: str


@dataclass
class Server:
    """Answers `body` (a text, or something for JSON) with `status`; `routes` maps a path to a function of the request instead."""

    url: str = ""
    body: object = ""
    status: int = 200
    headers: dict = field(default_factory=dict)
    delay: float = 0.0
    drops: int = 0
    """How many connections to close without an answer before answering."""
    statuses: list = field(default_factory=list)
    """Statuses of the next answers, before `status` again."""
    routes: dict = field(default_factory=dict)
    seen: list = field(default_factory=list)

    async def handle(self, request):
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        one = Seen(request.method, request.path, dict(request.query), headers, body, str(request.rel_url))
        if request.path in self.routes:
            return self.routes[request.path](one)
        self.seen.append(one)
        if self.drops:
            self.drops -= 1
            request.transport.close()
            return web.Response()
        await asyncio.sleep(self.delay)
        status = self.statuses.pop(0) if self.statuses else self.status
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return web.Response(status=status, text=text, headers=self.headers)

    @property
    def last(self):
        return self.seen[-1]


@asynccontextmanager
async def serving():
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def canary(name="podinfo", *, interval="", analysis_interval="1m", metrics_server=None):
    metric = {"name": "check", "templateRef": {"name": "template"}} | ({"interval": interval} if interval else {})
    spec = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "service": {"port": 80},
        "analysis": {"interval": analysis_interval, "threshold": 1, "metrics": [metric]},
    }
    if metrics_server:
        spec["metricsServer"] = metrics_server
    return Canary.model_validate({"metadata": {"name": name, "namespace": "test"}, "spec": spec})


def cluster_with(kind, query, *, secret=None, **provider):
    """A cluster with the MetricTemplate `template` and, with `secret` (texts), its Secret."""
    cluster = FakeCluster(watched=True)
    provider = {"type": kind, **provider} | ({"secretRef": {"name": "credentials"}} if secret is not None else {})
    cluster.add(METRIC_TEMPLATES, {"metadata": {"name": "template", "namespace": "test"}, "spec": {"provider": provider, "query": query}})
    if secret is not None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in secret.items()}
        cluster.add(SECRETS, {"metadata": {"name": "credentials", "namespace": "test"}, "data": data})
    return cluster


async def ask(cluster, *, timeout=3.0, asker=None, interval="", name="podinfo"):
    """One check of the canary's only metric."""
    one = asker or Asker(metrics_server="http://127.0.0.1:1")
    try:
        subject = canary(name, interval=interval)
        return await one.template(subject, subject.spec.analysis.metrics[0], cluster, timeout=timeout)
    finally:
        if asker is None:
            await one.close()


async def probe(cluster, *, timeout=3.0):
    """What the availability check says."""
    asker = Asker(metrics_server="http://127.0.0.1:1")
    try:
        return (await asker.probe(canary(), cluster, timeout=timeout)).errors
    finally:
        await asker.close()
