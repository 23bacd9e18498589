"""The two kinds that are asked through the Kubernetes API."""

import asyncio

import pytest

from canary.core.errors import Forbidden, NotFound, Retryable
from canary.kube.auth import Credentials
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.login import FixedSource, Login
from canary.metrics import externalmetrics, keptn
from canary.metrics.base import Source
from canary.metrics.keptn import ANALYSES, KEPTN_METRICS
from tests.metrics.cases import external
from tests.metrics.support import ask, cluster_with, probe


def metric(value, **status):
    return {"metadata": {"name": "latency", "namespace": "shop"}, "status": {"value": value, **status}}


@pytest.mark.parametrize("query", ["keptnmetric/shop/latency", "KeptnMetrics/Shop/Latency"])
async def test_the_value_of_a_keptn_metric(query):
    cluster = cluster_with("keptn", query)
    cluster.add(KEPTN_METRICS, metric("12.5"))
    assert (await ask(cluster)).value == 12.5


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (metric(""), ""),
        (metric(None), ""),
        (metric("", errMsg="no provider"), "no provider"),
        (metric("x"), "no number"),
        (metric({}), "an object"),
    ],
)
async def test_a_keptn_metric_without_a_value(body, error):
    cluster = cluster_with("keptn", "keptnmetric/shop/latency")
    cluster.add(KEPTN_METRICS, body)
    sample = await ask(cluster)
    assert sample.value is None
    assert (error in sample.error) if error else sample.no_data


async def test_a_missing_keptn_metric_says_so():
    sample = await ask(cluster_with("keptn", "keptnmetric/shop/latency"))
    assert "'latency' not found" in sample.error
    assert "install Keptn" in sample.error


def finish(cluster, **status):
    """Complete the analysis as soon as it exists, as Keptn would."""

    async def run():
        while not (names := cluster.names(ANALYSES)):
            await asyncio.sleep(0.01)
        run.body = cluster.stored(ANALYSES, "shop", names[0])
        cluster.change(ANALYSES, "shop", names[0], {"status": status})

    run.task = asyncio.create_task(run())
    return run


@pytest.mark.parametrize(("passed", "value"), [(True, 1.0), (False, 0.0)])
async def test_an_analysis_is_made_waited_for_and_taken_away(passed, value):
    cluster = cluster_with("keptn", "analysis/shop/slo/5m/workload={{ target }};tier=a")
    keptn_does = finish(cluster, state="Completed", **{"pass": passed})
    assert (await ask(cluster)).value == value
    await keptn_does.task
    assert keptn_does.body["spec"] == {
        "timeframe": {"recent": "5m"},
        "args": {"workload": "podinfo", "tier": "a"},
        "analysisDefinition": {"name": "slo"},
    }
    assert keptn_does.body["metadata"]["name"].startswith("slo-")
    assert cluster.names(ANALYSES) == []


async def test_an_analysis_that_does_not_end_is_an_error_and_taken_away():
    cluster = cluster_with("keptn", "analysis/shop/slo")
    assert "the Analysis shop/slo gave no result within 0.3 s" in (await ask(cluster, timeout=0.3)).error
    assert cluster.names(ANALYSES) == []


async def test_an_analysis_that_nobody_waits_for_is_taken_away():
    cluster = cluster_with("keptn", "analysis/shop/slo")
    asking = asyncio.create_task(ask(cluster))
    while not cluster.names(ANALYSES):
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert cluster.names(ANALYSES) == []


async def test_a_broken_api_server_is_unreachable_and_a_missing_right_is_told():
    cluster = cluster_with("keptn", "keptnmetric/shop/latency")
    cluster.fail("read", KEPTN_METRICS, Retryable("the API server is away"))
    assert (await ask(cluster)).error == "the API server is away"
    cluster.fail("read", KEPTN_METRICS, Forbidden("cannot get keptnmetrics", hint="grant it"))
    assert (await ask(cluster)).error == "cannot get keptnmetrics; grant it"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "latency",
        "metric/shop/latency",
        "keptnmetric/shop",
        "keptnmetric/shop/a/5m",
        "analysis/shop/slo/soon",
        "analysis/s/a/1m/x",
        "analysis/../a",
    ],
)
async def test_what_is_no_keptn_query_says_how_to_write_one(query):
    assert "write keptnmetric/<namespace>/<name>" in (await ask(cluster_with("keptn", query or " "))).error


def test_the_parts_of_a_keptn_query():
    wanted = keptn.parse("Analyses/Shop/SLO/90s/A=B=C;d=")
    assert (wanted.namespace, wanted.name, wanted.duration, wanted.args) == ("shop", "slo", "90s", (("a", "b=c"), ("d", "")))
    assert keptn.parse("analysis/shop/slo").duration == "1m"


async def test_keptn_is_always_online():
    assert await probe(cluster_with("keptn", "keptnmetric/a/b")) == ()


# ------------------------------------------------------------------------------------------- external metrics


class Api:
    """A cluster whose external metrics API answers `answer`, or raises it."""

    def __init__(self, cluster, answer):
        self._cluster, self.answer, self.seen = cluster, answer, []

    def get(self, *names):
        return self._cluster.get(*names)

    async def read(self, resource, namespace, name, *, params=None):
        if resource.group != "external.metrics.k8s.io":
            return await self._cluster.read(resource, namespace, name)
        self.seen.append((resource.path(namespace, name or None), dict(params or {})))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def api(query, answer, **more):
    return Api(cluster_with("externalmetrics", query, **more), answer)


@pytest.mark.parametrize(
    ("query", "path", "params"),
    [
        ("queue", "default/queue", {}),
        ("shop/queue", "shop/queue", {}),
        ("shop/queue?labelSelector=app%3D{{ target }}", "shop/queue", {"labelSelector": "app=podinfo"}),
        ("shop/pubsub.googleapis.com|messages", "shop/pubsub.googleapis.com%7Cmessages", {}),
    ],
)
async def test_the_api_server_is_asked_with_the_operators_own_rights(query, path, params):
    cluster = api(query, external("a"))
    assert (await ask(cluster)).value == 1.5
    assert cluster.seen == [(f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{path}", params)]


@pytest.mark.parametrize("query", ["a/b/c", "/x", "shop/", "../x", "shop/..", "Shop/x", "x?selector=a", "x?labelSelector=a&limit=1"])
async def test_what_is_no_external_metric_says_how_to_write_one(query):
    cluster = api(query, external("a"))
    assert "labelSelector" in (await ask(cluster)).error
    assert cluster.seen == []


async def test_a_missing_adapter_says_so():
    assert "install an adapter" in (await ask(api("q", NotFound("the server could not find the requested resource")))).error


@pytest.mark.parametrize(
    ("answer", "online"),
    [
        (external(), True),
        (NotFound("cannot get dummy-metric.external.metrics.k8s.io in namespace kube-system: no such metric dummy-metric"), True),
        (NotFound("cannot get dummy-metric.external.metrics.k8s.io in namespace kube-system: 404 page not found"), False),
        (Forbidden("User cannot list dummy-metric"), False),
        (Retryable("the adapter is away"), False),
    ],
)
async def test_an_adapter_that_does_not_know_a_metric_is_there(answer, online):
    problems = await probe(api("q", answer))
    assert (problems == ()) is online


async def test_selector_and_name_arrive_through_the_real_client_as_they_were_meant(server):
    server.body = external("a")
    client = ApiClient(Credentials(FixedSource(Login(server=server.url, authorization="Bearer operator"))))
    source = Source(type="externalmetrics", cluster=WatchedCluster(client))
    provider = externalmetrics.ExternalmetricsProvider()
    query = "shop/pubsub.googleapis.com|messages?labelSelector=app%3Dpodinfo%2Ctier%20in%20%28a%2Cb%29"
    try:
        assert (await provider.query(source, query, window_seconds=60, timeout=3)).value == 1.5
        server.status, server.body = 404, {"kind": "Status", "message": "no metric dummy-metric here"}
        assert await provider.online(source, timeout=3) == ""
        server.body = "404 page not found"
        assert "404 page not found" in await provider.online(source, timeout=3)
    finally:
        await provider.close()
        await client.close()
    first = server.seen[0]
    assert first.path == "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/pubsub.googleapis.com|messages"
    assert first.query == {"labelSelector": "app=podinfo,tier in (a,b)"}
    assert first.headers["authorization"] == "Bearer operator"


async def test_an_address_gets_no_token_of_the_operator(server):
    server.body = external("a")
    cluster = api("queue", AssertionError("the API server was asked"), address=server.url)
    assert (await ask(cluster)).value == 1.5
    assert "authorization" not in server.last.headers


async def test_a_token_without_an_address_goes_to_the_pods_api_server(server, monkeypatch):
    host, _, port = server.url.removeprefix("http://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    cluster = api("queue", AssertionError("asked with the operator's rights"), secret={"token": "own-token"})
    error = (await ask(cluster, timeout=1)).error
    assert f"{host}:{port}" in error  # it speaks TLS there, which this server does not
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    assert "needs an address outside a cluster" in (await ask(cluster)).error


def test_the_namespace_is_default_by_default():
    assert externalmetrics.parse("q") == externalmetrics.Wanted("default", "q")
