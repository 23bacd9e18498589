"""Latency from native histograms: on contract answers, and on a real Prometheus that scraped them."""

import asyncio
import json
import math
import os
import random
import time

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from canary.core.counted import Marks, fresh
from canary.core.judge import JudgeConfig, SequentialJudge
from canary.metrics import histograms
from canary.metrics.arms import A_HISTOGRAM, MOST_POINTS
from canary.metrics.asker import Asker
from canary.routers import registry
from tests.metrics import counted_world as world
from tests.metrics import protobuf
from tests.metrics.support import ask, canary, cluster_with, serving
from tests.metrics.test_a_batch_answers_as_each_query_would import ask as builtin
from tests.metrics.test_a_batch_answers_as_each_query_would import canary as checked
from tests.testbed import tools

NOW = 1_800_000_000.0
CONTOUR = registry.router("contour").arm_queries
NAME = "envoy_cluster_upstream_rq_time"
INF = math.inf


# ------------------------------------------------------------------------------------------------------ bounds and counts


def body(*buckets, count=None):
    """The JSON of one sample; buckets as (lower, upper, count)."""
    total = sum(number for *_, number in buckets) if count is None else count
    listed = [[3 if lower < 0 else 0, repr(lower), repr(upper), str(number)] for lower, upper, number in buckets]
    return {"count": str(total), "sum": "1"} | ({"buckets": listed} if listed else {})


def test_bounds_that_all_know_are_those_of_the_coarsest():
    fine, coarse = histograms.parsed(body((1, 2**0.5, 3), (2**0.5, 2, 1))), histograms.parsed(body((1, 2, 5), (4, 8, 1)))
    grid = histograms.grid([fine, coarse])
    assert grid == (1.0, 2.0, 4.0, 8.0)
    assert histograms.below(fine, grid) == {1: 0, 2: 4, 4: 4, 8: 4, INF: 4}
    assert histograms.below(coarse, grid) == {1: 0, 2: 5, 4: 5, 8: 6, INF: 6}


def test_bounds_of_the_authors_own_stay_what_they_are():
    one = histograms.parsed(body((-INF, 25, 4), (100, 250, 2), (250, INF, 1)))
    grid = histograms.grid([one])
    assert grid == (25.0, 100.0, 250.0)
    assert histograms.below(one, grid) == {25: 4, 100: 4, 250: 6, INF: 7}


def test_what_is_about_zero_lies_below_every_bound_outside_of_the_zero_bucket():
    wide, narrow = histograms.parsed(body((-0.5, 0.5, 7), (1, 2, 1))), histograms.parsed(body((0.25, 0.5, 2)))
    grid = histograms.grid([wide, narrow])
    assert grid == (0.5, 1.0, 2.0), "a quarter is inside of the zero bucket of one of them"
    assert histograms.below(wide, grid)[0.5] == 7


def test_without_observations_there_are_no_bounds():
    empty = histograms.parsed(body())
    assert histograms.grid([empty]) == ()
    assert histograms.below(empty, ()) == {INF: 0}


def test_too_many_bounds_lose_the_finest_first():
    buckets = [(2 ** ((k - 1) / 8), 2 ** (k / 8), 1) for k in range(-200, 200)]
    grid = histograms.grid([histograms.parsed(body(*buckets))])
    assert 80 <= len(grid) <= histograms.MOST_BOUNDS
    assert {2.0**k for k in range(-24, 24)} <= set(grid)
    assert set(grid) < {upper for _, upper, _ in buckets} | {buckets[0][0]}


@pytest.mark.parametrize("wrong", [None, "12", {}, {"count": "x"}, {"count": "1", "buckets": [[0, "1"]]}, {"count": "1", "buckets": 7}])
def test_what_is_no_histogram_is_an_error_that_says_so(wrong):
    with pytest.raises(ValueError, match="native histogram that cannot be read"):
        histograms.parsed(wrong)


durations = st.lists(st.floats(0.01, 5000, allow_nan=False), max_size=60)


@given(st.lists(st.tuples(durations, st.integers(-1, 6)), min_size=1, max_size=4))
def test_every_bound_counts_exactly_what_was_at_most_so_long(processes):
    seen = []
    for values, schema in processes:
        counts = {}
        for value in values:
            index = math.ceil(math.log2(value) * 2.0**schema)
            counts[index] = counts.get(index, 0) + 1
        edges = lambda k, s=schema: 2.0 ** (k / 2.0**s)  # noqa: E731
        seen.append((values, histograms.parsed(body(*((edges(k - 1), edges(k), count) for k, count in sorted(counts.items()))))))
    grid = histograms.grid(one for _, one in seen)
    for values, one in seen:
        found = histograms.below(one, grid)
        assert found[INF] == len(values)
        for bound in grid:
            # the bucket of a value on a bound hangs on how its logarithm is rounded
            assert (
                sum(value <= bound * (1 - 1e-9) for value in values) <= found[bound] <= sum(value <= bound * (1 + 1e-9) for value in values)
            )


# ----------------------------------------------------------------------------------------------------------- what is asked


def labels(arm, **more):
    return {"instance": "10.0.0.7:8002", "pod": "envoy-x2k4z", "envoy_cluster_name": f"test_podinfo-{arm}_80"} | more


def counter(arm, *values, at=NOW):
    first = at - 15 * (len(values) - 1)
    metric = labels(arm, envoy_response_code="200", __name__="envoy_cluster_upstream_rq")
    return {"metric": metric, "values": [[first + 15 * number, str(value)] for number, value in enumerate(values)]}


def native(arm, *bodies, at=NOW, **more):
    first = at - 15 * (len(bodies) - 1)
    points = [[first + 15 * number, one] for number, one in enumerate(bodies) if one is not None]
    return {"metric": labels(arm, __name__=NAME, **more), "histograms": points}


class Server:
    """Answers by arm and by what the series are."""

    def __init__(self):
        self.series = {}
        self.counts = {}
        self.asked = []

    def __call__(self, seen):
        query = seen.query["query"]
        self.asked.append(query)
        arm = "canary" if "-canary_" in query else "primary"
        kind = next(
            kind for kind, name in (("classic", f"{NAME}_bucket{{"), ("native", f"{NAME}{{"), ("requests", "upstream_rq{")) if name in query
        )
        result = self.series.get((arm, kind), [])
        if query.startswith("sum(count_over_time("):
            count = self.counts.get(kind, 0)
            result = [{"metric": {}, "value": [NOW, str(count)]}] if count else []
        return web.Response(
            text=json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}), content_type="application/json"
        )


async def looked(source, *, since=NOW - 20):
    async with serving() as server:
        server.routes["/api/v1/query"] = source
        asker = Asker(metrics_server=server.url, now=lambda: NOW)
        try:
            return await asker.counters(canary(), CONTOUR, since=since, timeout=3.0)
        finally:
            await asker.close()


def news(counters, mark=NOW - 15):
    """What came after the mark."""
    return fresh(counters, Marks().after([scrape for scrape in counters.scrapes if scrape.ts <= mark], at=mark)).deltas


async def test_a_native_histogram_stands_in_for_a_classic_one():
    source = Server()
    source.series["canary", "requests"] = [counter("canary", 4, 10)]
    source.series["canary", "native"] = [native("canary", body((64, 128, 4)), body((64, 128, 7), (256, 512, 3)))]
    found = await looked(source)
    assert (found.error, found.note) == ("", "")
    deltas = news(found)
    assert deltas.canary.total == 6
    assert deltas.canary.buckets == {64: 0, 128: 3, 256: 3, 512: 6, INF: 6}
    assert [query for query in source.asked if query.startswith(f"{NAME}{{")] == [
        f'{NAME}{{envoy_cluster_name=~"test_podinfo-canary_[0-9a-zA-Z-]+"}}[21000ms]'
    ], "asked for once, of the arm that has requests and no classic histogram"


async def test_series_of_one_process_are_added_up():
    source = Server()
    source.series["canary", "requests"] = [counter("canary", 4, 10)]
    source.series["canary", "native"] = [
        native("canary", body((64, 128, 4)), body((64, 128, 7)), envoy_response_code="200"),
        native("canary", None, body((256, 512, 3)), envoy_response_code="503"),
    ]
    assert news(await looked(source)).canary.buckets == {64: 0, 128: 3, 256: 3, 512: 6, INF: 6}


async def test_a_classic_histogram_comes_first():
    source = Server()
    source.series["canary", "requests"] = [counter("canary", 4, 10)]
    metric = labels("canary", le="100", __name__=f"{NAME}_bucket")
    source.series["canary", "classic"] = [{"metric": metric, "values": [[NOW - 15, "4"], [NOW, "9"]]}]
    source.series["canary", "native"] = [native("canary", body((64, 128, 4)), body((64, 128, 99)))]
    assert news(await looked(source)).canary.buckets == {100: 5}
    assert not [query for query in source.asked if query.startswith(f"{NAME}{{")]


async def test_a_histogram_that_is_stored_from_now_on_counts_nothing_that_was_before():
    """A server that is told to keep native histograms in the middle of a run."""
    source = Server()
    source.series["primary", "requests"] = [counter("primary", 9000, 9010, 9020, 9030)]
    source.series["primary", "native"] = [native("primary", None, None, body((64, 128, 9020)), body((64, 128, 9029), (128, 256, 1)))]
    found = await looked(source, since=NOW - 50)
    assert news(found, NOW - 45).primary.buckets == {64: 0, 128: 9, 256: 10, INF: 10}


async def test_a_histogram_that_began_with_its_first_request_counts_all():
    source = Server()
    source.series["canary", "requests"] = [counter("canary", 0, 0, 10, 20)]
    source.series["canary", "native"] = [native("canary", None, None, body((64, 128, 10)), body((64, 128, 20)))]
    assert news(await looked(source, since=NOW - 50), NOW - 45).canary.buckets == {64: 0, 128: 20, INF: 20}


@pytest.mark.parametrize("kind", ["native", "classic"])
async def test_what_is_neither_is_said_and_failures_are_compared_all_the_same(kind):
    source = Server()
    source.series["canary", "requests"] = [counter("canary", 4, 10)]
    name = NAME if kind == "native" else f"{NAME}_bucket"
    series = {"metric": labels("canary", quantile="0.5", __name__=name), "values": [[NOW - 15, "3.5"], [NOW, "3.6"]]}
    source.series["canary", kind] = [series]
    found = await looked(source)
    assert found.error == ""
    assert f"{name} is neither a classic nor a native histogram" in found.note
    assert (news(found).canary.total, news(found).canary.buckets) == (6, {})


async def test_a_native_histogram_where_requests_are_counted_is_an_error_that_names_it():
    source = Server()
    source.series["canary", "requests"] = [native("canary", body((1, 2, 1)))]
    assert f"{NAME} is a native histogram where a counter is needed" in (await looked(source)).error


async def test_a_histogram_that_cannot_be_read_is_an_error():
    source = Server()
    source.series["canary", "requests"] = [counter("canary", 4, 10)]
    source.series["canary", "native"] = [native("canary", {"count": "4"}, {"sum": "1"})]
    assert "cannot be read" in (await looked(source)).error


async def test_the_past_of_native_histograms_is_bounded_by_their_buckets():
    source = Server()
    source.counts = {"requests": MOST_POINTS, "native": MOST_POINTS / A_HISTOGRAM * 2}
    async with serving() as server:
        server.routes["/api/v1/query"] = source
        asker = Asker(metrics_server=server.url, now=lambda: NOW)
        await asker.past(canary(), CONTOUR, timeout=3.0)
        await asker.close()
    assert [query.rpartition("[")[2] for query in source.asked if "count_over" not in query] == ["1200000ms]"] * 2


@pytest.mark.parametrize("matrix", [True, False])
async def test_a_check_that_answers_with_a_native_histogram_is_an_error(matrix):
    point = {"histograms": [[NOW, body((1, 2, 3))]]} if matrix else {"histogram": [NOW, body((1, 2, 3))]}
    async with serving() as server:
        server.body = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, **point}]}}
        sample = await ask(cluster_with("prometheus", "latency", address=server.url))
    assert sample.value is None
    assert ("ranges" if matrix else "native histogram where a number is needed") in sample.error


# ------------------------------------------------------------------------------------------------------- a real Prometheus

STEP, SCRAPES = 15, 120
SLOW = 100
"""The scrape from which on the canary is slow."""
SERVICES = [("test", name) for name in ("podinfo", "shop", "cart", "idle")]


def duration(rng, *, slow):
    """Milliseconds: a median of 80, and of 250 when slow."""
    return rng.lognormvariate(math.log(250 if slow else 80), 0.4)


class Process:
    """One Envoy, as it counts one version of a service."""

    def __init__(self, name, service, arm, schema):
        self.labels = {"envoy_cluster_name": f"{service[0]}_{service[1]}-{arm}_80", "pod": name}
        self.schema = schema
        self.restart()
        self.seen = []

    def restart(self):
        self.count, self.histogram = 0, protobuf.Histogram(self.schema)

    def serve(self, values):
        for value in values:
            self.count += 1
            self.histogram.add(value)

    def show(self, at):
        self.seen.append((at, self.count, self.histogram.copy()))


def history(end):
    """What two proxies with different schemas have counted, and the durations by arm and scrape; the second one restarts."""
    rng, served, processes = random.Random(5), {}, []
    for service in SERVICES:
        for arm, rate in (("canary", 20), ("primary", 60)):
            pair = [Process("envoy-a", service, arm, 3), Process("envoy-b", service, arm, 2)]
            processes += pair
            for number in range(SCRAPES):
                at = end - (SCRAPES - 1 - number) * STEP
                if number == 60:
                    pair[1].restart()
                for process in pair:
                    values = [duration(rng, slow=arm == "canary" and number >= SLOW) for _ in range(0 if service[1] == "idle" else rate)]
                    process.serve(values)
                    process.show(at)
                    served.setdefault((service[1], arm, at), []).extend(values)
    return processes, served


def page(processes):
    counters, latencies = [], []
    for process in processes:
        for at, count, histogram in process.seen:
            counters.append(protobuf.metric(process.labels | {"envoy_response_code": "200"}, count, at * 1000))
            latencies.append(protobuf.metric(process.labels, histogram, at * 1000))
    summaries = [protobuf.summary({"app": "a"}, {0.5: 3.5}, processes[0].seen[-1][0] * 1000)]
    return (
        protobuf.family("envoy_cluster_upstream_rq", protobuf.COUNTER, counters)
        + protobuf.family(NAME, protobuf.HISTOGRAM, latencies)
        + protobuf.family("some_summary", protobuf.SUMMARY, summaries)
    )


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """URL, the second at which the past ends, and what was served."""
    if reason := tools.missing(["prometheus"]):
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    end = int(time.time())
    processes, served = history(end)
    folder, ready = tmp_path_factory.mktemp("native"), 'envoy_cluster_upstream_rq{envoy_cluster_name="test_idle-primary_80"}'
    with world.prometheus(folder, page(processes), ready=ready, kind=protobuf.CONTENT_TYPE, features="native-histograms") as url:
        yield url, end, served


async def looks(url, times):
    """Every look from the first time on: when, and what was new."""
    marks = Marks()
    for at in times:
        asker = Asker(metrics_server=url, now=lambda at=at: at)
        counters = await asker.counters(canary(), CONTOUR, since=marks.since, timeout=5.0)
        await asker.close()
        assert (counters.error, counters.note) == ("", "")
        found = fresh(counters, marks)
        marks = Marks.parse(found.marks.text())
        yield at, found.deltas


@pytest.mark.slow
async def test_a_real_prometheus_gives_every_request_and_every_slow_one_once(prometheus):
    url, end, served = prometheus
    begin = end - 70 * STEP
    total, slow = {"canary": 0, "primary": 0}, {"canary": 0, "primary": 0}
    async for _, deltas in looks(url, [begin + 3, *range(begin + STEP + 3, end, 2 * STEP), end + 3]):
        for arm in total:
            one = getattr(deltas, arm)
            if one is not None and one.total:
                total[arm] += one.total
                assert one.timed() == one.total
                slow[arm] += one.timed() - one.buckets[256.0]
    for arm, count in total.items():
        values = [value for (name, one, at), seen in served.items() if (name, one) == ("podinfo", arm) and at > begin for value in seen]
        assert count == len(values)
        assert slow[arm] == sum(value > 256 for value in values) > 0


@pytest.mark.slow
async def test_a_real_past_has_the_bounds_of_the_coarser_proxy(prometheus):
    url, end, _ = prometheus
    asker = Asker(metrics_server=url, now=lambda: end + 3)
    past = await asker.past(canary(), CONTOUR, timeout=10.0)
    await asker.close()
    assert past.error == ""
    assert len(past.ticks) > 50
    bounds = {bound for tick in past.ticks for bound in tick.primary.buckets if bound < INF}
    assert {64.0, 128.0, 256.0} <= bounds
    assert all(abs(math.log2(bound) * 4 - round(math.log2(bound) * 4)) < 1e-9 for bound in bounds)
    assert {tick.primary.timed() for tick in past.ticks} == {120}


@pytest.mark.slow
async def test_a_slow_version_is_taken_back_on_native_histograms_alone(prometheus):
    url, end, _ = prometheus
    begin = end - 35 * STEP
    asker = Asker(metrics_server=url, now=lambda: begin)
    past = await asker.past(canary(), CONTOUR, timeout=10.0)
    await asker.close()
    judge = SequentialJudge(JudgeConfig.from_spec({"minDuration": 0}), past.ticks)
    found = {}
    async for at, deltas in looks(url, range(begin + 3, end + 4, STEP)):
        found[at] = judge.observe(deltas.tick(at, 25))
        if found[at].verdict == "rollback":
            break
    assert found[at].verdict == "rollback"
    assert at > end - (SCRAPES - SLOW) * STEP
    assert "canary requests took longer than" in found[at].reason


@pytest.mark.slow
async def test_the_built_in_check_of_durations_reads_them_alone_and_together(prometheus):
    """This Prometheus loses histograms in a query for many canaries, so that each of them asks for itself."""
    url, end, served = prometheus
    subjects = [checked(namespace, name) for namespace, name in SERVICES]
    found = []
    async with world.at(url, end) as (address, seen):
        for together in (False, True):
            asker = Asker(metrics_server=address)
            found.append(await asyncio.gather(*(builtin(asker, "contour", one, "request-duration", together=together) for one in subjects)))
            await asker.close()
        assert [method for method, _, _ in seen].count("POST") == 1
    alone, together = found
    assert together == alone
    assert not [sample.error for sample in alone if sample.error]
    values = sorted(
        value for (name, arm, at), one in served.items() if (name, arm) == ("podinfo", "canary") and at > end - 60 for value in one
    )
    assert alone[0].value == pytest.approx(values[int(0.99 * len(values))], rel=0.2)
    assert alone[3].no_data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "words"),
    [
        (f"sum(rate({NAME}[5m]))", "native histogram where a number is needed"),
        (f"{NAME}[1m]", "ranges"),
        (f"histogram_count(sum(rate({NAME}[5m])))", ""),
    ],
)
async def test_a_real_answer_that_is_a_histogram_is_no_number(prometheus, query, words):
    url, end, _ = prometheus
    async with world.at(url, end) as (address, _):
        sample = await ask(cluster_with("prometheus", query, address=address))
    assert words in sample.error
    assert (sample.value is None) is bool(words)


@pytest.mark.slow
async def test_a_real_summary_is_neither(prometheus):
    url, end, _ = prometheus
    queries = registry.router("contour").arm_queries
    series = type(queries.canary)(queries.canary.requests, "some_summary_bucket{}", "some_summary{}")
    asker = Asker(metrics_server=url, now=lambda: end + 3)
    found = await asker.counters(canary(), type(queries)(series, queries.primary, queries.code), since=end - 40, timeout=5.0)
    await asker.close()
    assert "some_summary is neither a classic nor a native histogram" in found.note
