"""Raw counters of both versions: what is asked, what is made of the answers, and that a dead source is an answer, too."""

import asyncio
import json
import os
import socket
import subprocess
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from canary.core.counted import Marks, fresh, target_of
from canary.metrics.arms import MOST_POINTS
from canary.metrics.asker import Asker
from canary.routers import registry
from tests.metrics.support import canary, serving
from tests.testbed import tools

NOW = 1_800_000_000.0
CONTOUR = registry.router("contour").arm_queries
ENVOY = {"instance": "10.0.0.7:8002", "job": "envoy", "namespace": "projectcontour", "pod": "envoy-x2k4z"}


def labels(arm, **more):
    return ENVOY | {"envoy_cluster_name": f"test_podinfo-{arm}_80"} | more


def series(metric, *values, at=NOW):
    """A series scraped every 15 s, the last time at `at`."""
    first = at - 15 * (len(values) - 1)
    return {"metric": metric, "values": [[first + 15 * number, str(value)] for number, value in enumerate(values)]}


class Prometheus:
    """Answers by what the query is about; remembers queries and times."""

    def __init__(self):
        self.series = {(arm, kind): [] for arm in ("canary", "primary") for kind in ("requests", "buckets")}
        self.count = 0
        self.asked = []

    def __call__(self, seen):
        query, when = seen.query["query"], float(seen.query["time"])
        self.asked.append((query, when))
        if query.startswith("sum(count_over_time("):
            return self._answer([{"metric": {}, "value": [when, str(self.count)]}] if self.count else [])
        arm = "canary" if "-canary_" in query else "primary"
        return self._answer(self.series[arm, "buckets" if "_bucket" in query else "requests"])

    @staticmethod
    def _answer(result):
        body = {"status": "success", "data": {"resultType": "matrix", "result": result}}
        return web.Response(text=json.dumps(body), content_type="application/json")


@asynccontextmanager
async def asking():
    source = Prometheus()
    async with serving() as server:
        server.routes["/api/v1/query"] = source
        asker = Asker(metrics_server=server.url, now=lambda: NOW)
        try:
            yield asker, source
        finally:
            await asker.close()


async def counted(asker, *, since=NOW - 20):
    return await asker.counters(canary(), CONTOUR, since=since, timeout=3.0)


async def test_all_of_one_look_is_asked_for_one_moment_back_to_the_last_mark():
    async with asking() as (asker, source):
        assert (await counted(asker)).error == ""
    assert len(source.asked) == 4
    assert {when for _, when in source.asked} == {NOW}
    assert all(query.endswith("[21000ms]") for query, _ in source.asked)
    assert {query.partition("{")[0] for query, _ in source.asked} == {"envoy_cluster_upstream_rq", "envoy_cluster_upstream_rq_time_bucket"}
    assert sum('"test_podinfo-canary_[0-9a-zA-Z-]+"' in query for query, _ in source.asked) == 2


@pytest.mark.parametrize(("since", "window"), [(0, 120_000), (NOW - 5000, 600_000), (NOW + 50, 1000)])
async def test_no_look_reaches_too_far(since, window):
    async with asking() as (asker, source):
        await counted(asker, since=since)
    assert all(query.endswith(f"[{window}ms]") for query, _ in source.asked)


async def test_codes_become_classes_and_buckets_milliseconds_of_the_same_scrape():
    async with asking() as (asker, source):
        source.series["canary", "requests"] = [
            series(labels("canary", envoy_response_code=code), *values)
            for code, values in (("200", (10, 30)), ("204", (1, 1)), ("503", (0, 2)), ("404", (5, 6)))
        ]
        source.series["canary", "buckets"] = [
            series(labels("canary", le=bound), *values) for bound, values in (("25", (9, 20)), ("+Inf", (16, 39)))
        ]
        found = await counted(asker)
    first, last = sorted(found.scrapes, key=lambda scrape: scrape.ts)
    assert (last.arm, last.ts, last.requests) == ("canary", NOW, {"2": 31.0, "5": 2.0, "4": 6.0})
    assert last.buckets == {25.0: 20.0, float("inf"): 39.0}
    assert target_of(last) == target_of(first) == "projectcontour/envoy-x2k4z"
    assert found.at == NOW


async def test_two_jobs_that_scrape_one_proxy_count_once():
    async with asking() as (asker, source):
        source.series["primary", "requests"] = [
            series(labels("primary", envoy_response_code="200"), 100, 160),
            series(labels("primary", envoy_response_code="200", job="pods", instance="10.0.0.7:9000"), 130, 190, at=NOW + 7),
        ]
        found = await counted(asker)
    marks = Marks().after([min(found.scrapes, key=lambda scrape: scrape.ts)], at=NOW - 15)
    assert fresh(found, marks).deltas.primary.total == 90


async def test_replicas_of_prometheus_count_once():
    async with asking() as (asker, source):
        source.series["primary", "requests"] = [
            series(labels("primary", envoy_response_code="200", prometheus_replica=name), *values, at=NOW + late)
            for name, values, late in (("a", (100, 160), 0), ("b", (104, 163), 1))
        ]
        found = await counted(asker)
    marks = Marks().after([min(found.scrapes, key=lambda scrape: scrape.ts)], at=NOW - 15)
    assert 59 <= fresh(found, marks).deltas.primary.total <= 63


async def test_two_clusters_of_one_proxy_restart_by_themselves():
    async with asking() as (asker, source):
        source.series["primary", "requests"] = [
            series(labels("primary", envoy_response_code="200"), 1000, 1010),
            series(labels("primary", envoy_response_code="200", envoy_cluster_name="test_podinfo-primary_81"), 500, 20),
        ]
        found = await counted(asker)
    marks = Marks().after([min(found.scrapes, key=lambda scrape: scrape.ts)], at=NOW - 15)
    assert fresh(found, marks).deltas.primary.total == 30


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, "bad", "400"),
        (500, "broken", "500"),
        (200, "no json", ""),
        (200, {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "2"]}]}}, "no raw samples"),
        (200, {"status": "error"}, ""),
    ],
)
async def test_what_is_no_answer_is_an_error_and_no_exception(status, body, words):
    async with serving() as server:
        server.status, server.body = status, body
        asker = Asker(metrics_server=server.url, now=lambda: NOW)
        found, past = await counted(asker), await asker.past(canary(), CONTOUR, timeout=3.0)
        await asker.close()
    assert found.error
    assert words in found.error
    assert found.scrapes == ()
    assert past.error


async def test_a_source_that_is_not_there_is_an_error_and_soon_left_alone():
    asker = Asker(metrics_server="http://127.0.0.1:1")
    errors = [(await counted(asker)).error for _ in range(3)]
    await asker.close()
    assert all("127.0.0.1" in error for error in errors)
    assert "unavailable" in errors[-1]


async def test_a_source_that_hangs_costs_its_time_limit():
    async with serving() as server:
        server.delay = 30
        asker = Asker(metrics_server=server.url)
        began = time.monotonic()
        found = await asker.counters(canary(), CONTOUR, since=0, timeout=0.5)
        await asker.close()
    assert "did not answer in time" in found.error
    assert time.monotonic() - began < 3


async def test_an_address_that_is_none_is_an_error():
    asker = Asker(metrics_server="prometheus")
    assert "http" in (await counted(asker)).error
    await asker.close()


async def test_the_past_is_the_primarys_alone_and_bounded():
    async with asking() as (asker, source):
        source.count = 480
        source.series["primary", "requests"] = [series(labels("primary", envoy_response_code="200"), *range(0, 2400, 10))]
        source.series["primary", "buckets"] = [series(labels("primary", le=le), *range(0, 2400, 10)) for le in ("100", "+Inf")]
        past = await asker.past(canary(), CONTOUR, timeout=3.0)
        assert len(past.ticks) == 239
        assert {tick.primary.total for tick in past.ticks} == {10}
        assert past.ticks[-1].primary.buckets == {100.0: 10, float("inf"): 10}
        assert not [query for query, _ in source.asked if "canary_[" in query]
        assert [query for query, _ in source.asked if query.endswith("[3600000ms]")]
        source.asked.clear()
        source.count = 4 * MOST_POINTS  # of each kind
        await asker.past(canary(), CONTOUR, timeout=3.0)
        assert [query.rpartition("[")[2] for query, _ in source.asked[2:]] == ["450000ms]"] * 2
        source.asked.clear()
        source.count = 40 * MOST_POINTS
        assert (await asker.past(canary(), CONTOUR, timeout=3.0)).ticks == ()
        assert len(source.asked) == 2, "what would be too much is not asked for"


async def test_a_primary_without_a_past_has_none_and_that_is_no_error():
    async with asking() as (asker, _):
        past = await asker.past(canary(), CONTOUR, timeout=3.0)
    assert (past.ticks, past.error) == ((), "")


class Envoy:
    """Counts as Envoy does, for a real Prometheus to scrape."""

    def __init__(self):
        self.requests = Counter()

    def metrics(self, _):
        lines = ["# TYPE envoy_cluster_upstream_rq counter"]
        for (arm, code), count in self.requests.items():
            lines.append(f'envoy_cluster_upstream_rq{{envoy_response_code="{code}",envoy_cluster_name="test_podinfo-{arm}_80"}} {count}')
        lines.append("# TYPE envoy_cluster_upstream_rq_time histogram")
        for arm in {arm for arm, _ in self.requests}:
            total = sum(count for (one, _), count in self.requests.items() if one == arm)
            name = f'envoy_cluster_name="test_podinfo-{arm}_80"'
            for bound in ("5", "100", "+Inf"):
                lines.append(f'envoy_cluster_upstream_rq_time_bucket{{{name},le="{bound}"}} {0 if bound == "5" else total}')
            lines += [f"envoy_cluster_upstream_rq_time_sum{{{name}}} {total}", f"envoy_cluster_upstream_rq_time_count{{{name}}} {total}"]
        return web.Response(text="\n".join(lines) + "\n", headers={"Content-Type": "text/plain; version=0.0.4"})


@pytest.mark.slow
async def test_a_real_prometheus_gives_every_request_once(tmp_path):
    if reason := tools.missing(["prometheus"]):
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with serving() as server:
        envoy = Envoy()
        server.routes["/metrics"] = envoy.metrics
        job = {"job_name": "envoy", "static_configs": [{"targets": [server.url.removeprefix("http://")]}]}
        configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
        (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))
        arguments = [
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with subprocess.Popen([tools.find("prometheus"), *arguments, "--log.level=error"]) as process:
            try:
                await _look_while_it_counts(envoy, f"http://127.0.0.1:{port}")
            finally:
                process.kill()


async def _look_while_it_counts(envoy, address):
    envoy.requests["primary", "200"] = 5000
    asker, marks, seen = Asker(metrics_server=address), Marks(), Counter()
    async with asyncio.timeout(30):
        while not (await asker.counters(canary(), CONTOUR, since=0, timeout=2.0)).scrapes:
            await asyncio.sleep(0.3)
            await asker.close()
            asker = Asker(metrics_server=address)  # whose breaker has not opened while the server was starting
    for step in range(24):
        if 2 <= step < 18:
            for key, count in ((("primary", "200"), 90), (("canary", "200"), 5), (("canary", "503"), 5)):
                envoy.requests[key] += count
        news = fresh(await asker.counters(canary(), CONTOUR, since=marks.since, timeout=2.0), marks)
        marks = Marks.parse(news.marks.text())
        for arm in ("canary", "primary"):
            if (more := getattr(news.deltas, arm)) is not None:
                seen.update({arm: more.total, f"{arm} bad": more.errors, f"{arm} timed": more.timed()})
        await asyncio.sleep(0.25)
    past = await asker.past(canary(), CONTOUR, timeout=2.0)
    await asker.close()
    assert seen == {"canary": 160, "canary bad": 80, "canary timed": 160, "primary": 1440, "primary bad": 0, "primary timed": 1440}
    assert sum(tick.primary.total for tick in past.ticks) == 1440
