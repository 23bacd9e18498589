"""`total` and `bad` of a MetricTemplate: what is asked, how it is counted, and what it does to a release."""

import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from canary.api.canary import Canary
from canary.api.errors import InvalidObject
from canary.api.metrictemplate import parse_metric_template
from canary.api.status import Phase
from canary.core.counted import Counters, Marks, fresh
from canary.core.judge import Arm, SequentialJudge
from canary.core.judge import Sample as Scrape
from canary.core.paired import ALL, BAD, paired
from canary.kube.resource import METRIC_TEMPLATES, SECRETS
from canary.metrics.asker import Asker
from canary.metrics.pairs import MOST
from canary.routers import registry
from tests.core.counting import Traffic, watched
from tests.core.simulate import World
from tests.core.test_evidence_decides import ANALYSIS, checks, go, judge
from tests.fakes.cluster import FakeCluster
from tests.judge.releases import Service, config, release
from tests.metrics import counted_world as world
from tests.metrics.support import serving
from tests.testbed import tools
from tests.testbed.absence import absent

NOW = 1_800_000_000.0
CONTOUR = registry.router("contour").arm_queries
TOTAL = 'jobs_total{namespace="{{ namespace }}",app="{{ workload }}"}'
FAILED = 'jobs_failed_total{namespace="{{ namespace }}",app="{{ workload }}",kind="{{ variables.kind }}"}'


# ----------------------------------------------------------------------------------------------------------- the template


def spec(address="http://p:9090", *, total=TOTAL, bad=FAILED, kind="prometheus", **provider):
    return {"provider": {"type": kind, "address": address, **provider}, "query": "up", "total": total, "bad": bad}


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"bad": ""}, "come together"), ({"total": ""}, "come together"), ({"kind": "graphite"}, "counters of a Prometheus")],
)
def test_half_a_pair_and_pairs_of_other_sources_are_refused(changes, words):
    with pytest.raises(InvalidObject, match=words):
        parse_metric_template({"metadata": {"name": "jobs", "namespace": "test"}, "spec": spec(**changes)})


def test_a_template_without_a_pair_is_what_it_was():
    template = {"metadata": {"name": "jobs"}, "spec": {"provider": {"type": "graphite"}, "query": "target=a"}}
    assert parse_metric_template(template).spec.paired is False


# ------------------------------------------------------------------------------------------------------------ the questions


def canary(*names, **metric):
    metrics = [
        {"name": name, "templateRef": {"name": name}, "templateVariables": {"kind": "mail"}, **metric} for name in names or ("jobs",)
    ]
    analysis = {"interval": "1m", "threshold": 1, "stepWeight": 10, "judge": "guarded", "metrics": metrics}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"}
    return Canary.model_validate(
        {"metadata": {"name": "podinfo", "namespace": "test"}, "spec": {"targetRef": target, "service": {"port": 80}, "analysis": analysis}}
    )


def cluster_with(*names, secret=False, **more):
    cluster = FakeCluster(watched=True)
    ref = {"secretRef": {"name": "credentials"}} if secret else {}
    for name in names:
        cluster.add(METRIC_TEMPLATES, {"metadata": {"name": name, "namespace": "test"}, "spec": spec(**more, **ref)})
    return cluster


class Server:
    """Answers by the name of the series and the version in it."""

    def __init__(self):
        self.series, self.asked, self.headers = {}, [], []

    def __call__(self, seen):
        query = seen.query["query"]
        self.asked.append(query)
        self.headers.append(seen.headers)
        if query.startswith("sum(count_over_time("):
            name = query.removeprefix("sum(count_over_time(").partition("{")[0]
            points = sum(len(one["values"]) for (found, _), series in self.series.items() if found == name for one in series)
            return self.answer("vector", [{"metric": {}, "value": [NOW, str(points)]}] if points else [])
        arm = "primary" if "primary" in query else "canary"
        return self.answer("matrix", self.series.get((query.partition("{")[0], arm), []))

    @staticmethod
    def answer(kind, result):
        body = {"status": "success", "data": {"resultType": kind, "result": result}}
        return web.Response(text=json.dumps(body), content_type="application/json")


@asynccontextmanager
async def asking(**more):
    source = Server()
    async with serving() as server:
        server.routes["/api/v1/query"] = source
        asker = Asker(metrics_server=server.url, now=lambda: NOW)
        try:
            yield asker, source, cluster_with("jobs", address=server.url, **more)
        finally:
            await asker.close()


def counter(name, *values, pod="podinfo-x", **labels):
    first = NOW - 15 * (len(values) - 1)
    return {
        "metric": {"__name__": name, "namespace": "test", "pod": pod, **labels},
        "values": [[first + 15 * number, str(value)] for number, value in enumerate(values)],
    }


async def test_both_versions_are_asked_for_by_the_name_of_their_workload():
    async with asking() as (asker, source, cluster):
        found = await asker.counters(canary(), CONTOUR, since=NOW - 20, timeout=3.0, cluster=cluster)
    assert found.pairs == {"jobs": Counters(NOW)}
    assert sorted(query for query in source.asked if query.startswith("jobs")) == [
        'jobs_failed_total{namespace="test",app="podinfo",kind="mail"}[21000ms]',
        'jobs_failed_total{namespace="test",app="podinfo-primary",kind="mail"}[21000ms]',
        'jobs_total{namespace="test",app="podinfo"}[21000ms]',
        'jobs_total{namespace="test",app="podinfo-primary"}[21000ms]',
    ]


async def test_or_by_the_name_of_the_version():
    async with asking(total='t{service="{{ service }}-{{ arm }}"}', bad='b{service="{{ service }}-{{ arm }}"}') as (asker, source, cluster):
        await asker.counters(canary(), CONTOUR, since=NOW - 20, timeout=3.0, cluster=cluster)
    assert {'t{service="podinfo-canary"}[21000ms]', 'b{service="podinfo-primary"}[21000ms]'} <= set(source.asked)


async def test_where_a_baseline_runs_the_old_version_is_the_baseline_and_the_primary_is_not_asked():
    """Its own counters would be those of pods that have run for hours: what the baseline is there to leave out."""
    async with asking() as (asker, source, cluster):
        source.series["jobs_total", "canary"] = [counter("jobs_total", 10, 30)]
        found = await asker.counters(canary(), CONTOUR, since=NOW - 20, timeout=3.0, cluster=cluster, baseline=True)
    assert sorted(query.partition("{")[2] for query in source.asked if query.startswith("jobs_total")) == [
        'namespace="test",app="podinfo"}[21000ms]',
        'namespace="test",app="podinfo-baseline"}[21000ms]',
    ]
    clusters = {query.partition('"')[2].partition("_[")[0] for query in source.asked if query.startswith("envoy_cluster_upstream_rq{")}
    assert clusters == {"test_podinfo-canary", "test_podinfo-baseline"}
    assert not found.error


async def test_or_by_the_name_of_the_version_which_then_is_baseline():
    async with asking(total='t{service="{{ service }}-{{ arm }}"}', bad='b{service="{{ service }}-{{ arm }}"}') as (asker, source, cluster):
        await asker.counters(canary(), CONTOUR, since=NOW - 20, timeout=3.0, cluster=cluster, baseline=True)
    own = [query for query in source.asked if query[:2] in {"t{", "b{"}]
    assert sorted(own) == [f'{name}{{service="podinfo-{arm}"}}[21000ms]' for name in "bt" for arm in ("baseline", "canary")]


async def test_what_the_baseline_counted_stands_on_the_side_of_the_primary():
    async with serving() as server:
        arms = {"canary": (10, 30), "baseline": (5, 29), "primary": (1000, 9000)}

        def answer(seen):
            query = seen.query["query"]
            arm = next(arm for arm in arms if f"podinfo-{arm}_" in query)
            label = {"envoy_cluster_name": f"test_podinfo-{arm}_80", "envoy_response_code": "200"}
            series = [counter("envoy_cluster_upstream_rq", *arms[arm], pod="envoy", **label)] if "time" not in query else []
            return Server.answer("matrix", series)

        server.routes["/api/v1/query"] = answer
        asker = Asker(metrics_server=server.url, now=lambda: NOW)
        try:
            found = await asker.counters(canary(), CONTOUR, since=NOW - 20, timeout=3.0, baseline=True)
        finally:
            await asker.close()
    anchors = [scrape for scrape in found.scrapes if scrape.ts < NOW]
    seen = fresh(found, Marks().after(anchors, at=NOW - 15))
    assert (seen.deltas.canary.total, seen.deltas.primary.total) == (20, 24)


async def test_a_mesh_that_cannot_tell_the_baseline_says_so_and_is_not_asked():
    async with asking() as (asker, source, _):
        found = await asker.counters(canary(), replace(CONTOUR, baseline=None), since=NOW - 20, timeout=3.0, baseline=True)
    assert found == Counters(NOW, error="this mesh does not count the baseline's requests by themselves")
    assert source.asked == []


async def test_the_past_is_the_primarys_with_a_baseline_or_without():
    """What the judge knows before the run: there was no baseline in that hour."""
    async with asking() as (asker, source, cluster):
        await asker.past(canary(), CONTOUR, timeout=3.0, cluster=cluster)
    assert source.asked
    assert not any("baseline" in query for query in source.asked)


async def test_a_plain_query_knows_no_version():
    async with asking() as (asker, _, cluster):
        cluster.add(
            METRIC_TEMPLATES,
            {"metadata": {"name": "plain", "namespace": "test"}, "spec": {"provider": {"type": "prometheus"}, "query": "{{ workload }}"}},
        )
        subject = canary("plain")
        sample = await asker.template(subject, subject.spec.analysis.metrics[0], cluster, timeout=3.0)
    assert "workload" in sample.error


async def test_the_templates_own_source_and_credentials_are_used():
    async with asking(secret=True) as (asker, source, cluster):
        cluster.add(SECRETS, {"metadata": {"name": "credentials", "namespace": "test"}, "data": {"token": "czNjcmV0"}})
        await asker.counters(canary(), CONTOUR, since=NOW - 20, timeout=3.0, cluster=cluster)
    sent = {headers.get("authorization") for query, headers in zip(source.asked, source.headers, strict=True) if query.startswith("jobs")}
    assert sent == {"Bearer s3cret"}


async def test_what_is_counted_is_all_and_the_bad_part_of_every_process():
    async with asking() as (asker, source, cluster):
        source.series["jobs_total", "canary"] = [counter("jobs_total", 10, 30), counter("jobs_total", 5, 3, pod="podinfo-y")]
        source.series["jobs_failed_total", "canary"] = [counter("jobs_failed_total", 1, 4, kind="mail")]
        source.series["jobs_total", "primary"] = [counter("jobs_total", 100, 150, pod="podinfo-primary-z")]
        found = await asker.counters(canary(), CONTOUR, since=NOW - 20, timeout=3.0, cluster=cluster)
    anchors = [scrape for scrape in found.pairs["jobs"].scrapes if scrape.ts < NOW]
    marks = Marks().after([replace(one, pod=f"jobs\x1e{one.pod}") for one in anchors], at=NOW - 15)
    seen = paired(found, marks, Marks())
    # the second process began anew, so that its 3 are 3 more
    assert seen.arms == {"jobs": (Arm(23, 3), Arm(50, 0))}
    assert seen.lacking == ""
    assert paired(found, seen.marks, seen.marks).arms == {"jobs": (None, None)}, "nothing is counted twice"


async def test_the_past_is_the_primarys():
    async with asking() as (asker, source, cluster):
        source.series["jobs_total", "primary"] = [counter("jobs_total", *range(0, 2400, 10), pod="podinfo-primary-z")]
        source.series["jobs_failed_total", "primary"] = [counter("jobs_failed_total", *range(240), pod="podinfo-primary-z")]
        past = await asker.past(canary(), CONTOUR, timeout=3.0, cluster=cluster)
    assert {(tick.primary.total, tick.primary.errors) for tick in past.pairs["jobs"]} == {(10, 1)}
    assert len(past.pairs["jobs"]) == 239


async def test_a_past_that_makes_no_sense_is_none():
    async with asking() as (asker, source, cluster):
        source.series["jobs_total", "primary"] = [counter("jobs_total", *range(40))]
        source.series["jobs_failed_total", "primary"] = [counter("jobs_failed_total", *range(0, 400, 10))]
        past = await asker.past(canary(), CONTOUR, timeout=3.0, cluster=cluster)
    assert (past.error, past.pairs) == ("", {"jobs": ()})


@pytest.mark.parametrize("metric", [{"role": "informational"}, {"dryRun": True}])
async def test_checks_that_only_inform_are_not_compared(metric):
    async with asking() as (asker, source, cluster):
        found = await asker.counters(canary(**metric), CONTOUR, since=NOW - 20, timeout=3.0, cluster=cluster)
    assert found.pairs == {}
    assert not [query for query in source.asked if query.startswith("jobs")]


async def test_a_template_that_is_missing_has_no_pair():
    async with asking() as (asker, _, cluster):
        found = await asker.counters(canary("lost"), CONTOUR, since=NOW - 20, timeout=3.0, cluster=cluster)
    assert (found.error, found.pairs) == ("", {})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"secret": True}, "credentials"),
        ({"bad": "{{ nonsense }}"}, "nonsense"),
        ({"kind": "prometheus", "total": "{{ if }}"}, "template"),
    ],
)
async def test_what_cannot_be_asked_is_said_of_the_pair_alone(more, words):
    async with asking(**more) as (asker, _, cluster):
        found = await asker.counters(canary(), CONTOUR, since=NOW - 20, timeout=3.0, cluster=cluster)
        past = await asker.past(canary(), CONTOUR, timeout=3.0, cluster=cluster)
    assert (found.error, past.error, past.pairs) == ("", "", {"jobs": ()})
    assert found.pairs["jobs"].error
    assert words in found.pairs["jobs"].error or words == "template"


async def test_there_are_not_more_than_the_status_has_room_for():
    names = [f"jobs-{number}" for number in range(MOST + 1)]
    async with asking() as (asker, source, _):
        cluster = cluster_with(*names, address=asker._metrics_server)
        found = await asker.counters(canary(*names), CONTOUR, since=NOW - 20, timeout=3.0, cluster=cluster)
    assert [one.error for one in found.pairs.values()][:-1] == [""] * MOST
    assert f"{MOST} pairs of counters" in found.pairs[names[-1]].error
    assert len([query for query in source.asked if query.startswith("jobs")]) == 4 * MOST


def test_more_bad_than_all_is_an_error_that_says_what_to_mend():
    scrapes = tuple(Scrape("canary", "x", NOW + at, {ALL: 5.0 + at, BAD: 4.0 + 3 * at}) for at in (0, 15))
    found = Counters(NOW, pairs={"jobs": Counters(NOW, scrapes)})
    marks = Marks().after([replace(scrapes[0], pod="jobs\x1ex")], at=NOW)
    seen = paired(found, marks, marks)
    assert seen.arms == {"jobs": (None, None)}
    assert seen.lacking.startswith("metric jobs: 45 are bad of 15 in all")


# ----------------------------------------------------------------------------------------------------------------- the judge


class Jobs:
    """A service whose requests are fine, with jobs of its own: how many, and the shares that fail."""

    def __init__(self, *, canary=0.001, primary=0.001, rate=100.0, from_tick=0):
        self.requests, self.jobs = Service(3), Service(4, rate=rate, canary=primary, primary=primary)
        self.canary, self.primary, self.from_tick, self.number = canary, primary, from_tick, 0

    def history(self):
        return self.requests.history(), {"jobs": self.jobs.history()}

    def tick(self, weight):
        self.number += 1
        if self.number > self.from_tick:
            self.jobs.canary = self.canary
        tick, jobs = self.requests.tick(weight), self.jobs.tick(weight)
        return replace(tick, pairs={"jobs": (plain(jobs.canary), plain(jobs.primary))})


def plain(arm):
    return Arm(arm.total, arm.errors)


def started(service):
    ticks, pairs = service.history()
    return SequentialJudge(config(), ticks, pairs)


@pytest.mark.parametrize("from_tick", [0, 6])
def test_a_version_whose_jobs_fail_is_taken_back_and_the_sentence_says_which(from_tick):
    service = Jobs(canary=0.2, from_tick=from_tick)
    found = release(started(service), service)
    assert found[-1].verdict == "rollback"
    assert "that jobs counts of the canary are bad" in found[-1].reason
    assert found[-1].evidence["pair/jobs"]["canaryBad"] > 0


def test_a_healthy_version_shows_its_jobs_health_before_it_is_promoted():
    service = Jobs()
    last = release(started(service), service)[-1]
    assert last.verdict == "promote"
    assert last.evidence["pair/jobs"]["pass"] >= 20
    assert "bad by jobs are at most" in last.reason


def test_jobs_that_fail_of_both_versions_alike_are_nobodys_fault():
    service = Jobs(canary=0.1, primary=0.1)
    assert "rollback" not in {one.verdict for one in release(started(service), service)}


def test_a_version_is_not_promoted_while_few_of_its_jobs_are_known():
    service = Jobs(rate=0.5)
    last = release(started(service), service, ticks=245)[-1]
    assert last.verdict == "inconclusive"
    assert "in jobs" in last.reason


def test_a_pair_that_counts_nothing_of_the_canary_holds():
    service = Jobs()
    silent = {number: lambda tick: replace(tick, pairs={"jobs": (None, tick.pairs["jobs"][1])}) for number in range(101)}
    found = release(started(service), service, ticks=100, change=silent)
    assert {one.verdict for one in found[9:]} == {"hold"}
    assert "the template of metric jobs counts nothing of the canary" in found[9].reason


def test_a_pair_that_cannot_be_had_holds_and_a_fault_elsewhere_is_still_found():
    service = Jobs()
    judge = started(service)
    held = judge.observe(replace(service.tick(5), pairs={"jobs": (None, None)}), "metric jobs: p:9090 cannot be reached")
    assert (held.verdict, held.reason) == ("hold", "Holding: no verdict without data: metric jobs: p:9090 cannot be reached.")
    service.requests.canary = 0.5
    verdicts = [judge.observe(replace(service.tick(25), pairs={"jobs": (None, None)}), "metric jobs: dead").verdict for _ in range(6)]
    assert "rollback" in verdicts


def test_a_pair_that_the_author_takes_away_is_not_waited_for():
    service = Jobs(rate=0.5)
    judge = started(service)
    judge.observe(service.tick(25))
    last = release(judge, service, change={number: lambda tick: replace(tick, pairs={}) for number in range(240)})[-1]
    assert last.verdict == "promote"
    assert "pair/jobs" not in last.evidence


def test_a_pair_that_comes_in_the_middle_takes_part_from_then_on():
    service = Jobs(canary=0.3)
    judge = SequentialJudge(config(), service.history()[0])
    found = release(judge, service, change={number: lambda tick: replace(tick, pairs=None) for number in range(4)})
    assert "pair/jobs" not in found[1].evidence
    assert found[-1].verdict == "rollback"


def test_what_it_knows_of_pairs_survives_and_is_small():
    service, again = Jobs(canary=0.02), Jobs(canary=0.02)
    judge, other = started(service), started(again)
    for _ in range(12):
        one, two = judge.observe(service.tick(5)), other.observe(again.tick(5))
        other = SequentialJudge.restore(config(), json.loads(json.dumps(other.state())))
        assert two == one
    names = [f"jobs-{number}" for number in range(MOST)]
    crowded = SequentialJudge(config(), service.history()[0], {name: service.jobs.history() for name in names})
    for _ in range(40):
        tick = service.tick(5)
        crowded.observe(replace(tick, pairs=dict.fromkeys(names, tick.pairs["jobs"])))
    assert len(json.dumps(crowded.state(), separators=(",", ":"))) <= 4096 + 614 * MOST
    assert len(json.dumps(crowded.state()["panel"]["pairs"], separators=(",", ":"))) <= 614 * MOST


# ---------------------------------------------------------------------------------------------------------------- the release


class WithJobs(Traffic):
    """Proxies, and jobs that are counted beside them."""

    def __init__(self, *, jobs=None, **more):
        super().__init__(**more)
        self.jobs = Traffic(start=more["start"], weight=more["weight"], seed=9, errors=jobs)
        self.broken = ""

    def counters(self, since, now, *, copies=False):
        found = self.jobs.counters(since, now, copies=copies)
        pair = Counters(now, error=self.broken) if self.broken else replace(found, scrapes=tuple(counted(one) for one in found.scrapes))
        return replace(super().counters(since, now, copies=copies), pairs={"jobs": pair})

    def past(self, now):
        ticks = self.jobs.past(now).ticks
        return replace(super().past(now), pairs={"jobs": tuple(replace(tick, primary=plain(tick.primary)) for tick in ticks)})


def counted(scrape):
    bad = scrape.requests.get("5", 0.0)
    return Scrape(scrape.arm, scrape.pod.replace("envoy", "worker"), scrape.ts, {ALL: scrape.requests.get("2", 0.0) + bad, BAD: bad})


def released(*, jobs=None, **analysis):
    one = watched(World(analysis=ANALYSIS | analysis).bootstrap())
    one.traffic = WithJobs(start=one.now, weight=lambda: getattr(one.routes, "canary", 0), jobs=jobs)
    one.release("B")
    one.settle()
    one.run(until=Phase.PROGRESSING)
    one.forget()
    return one


def test_a_release_whose_jobs_fail_is_rolled_back():
    one = go(released(jobs={"canary": 0.4}), 900)
    assert one.status.phase is Phase.FAILED
    assert "that jobs counts of the canary are bad" in one.status.failure_reason
    assert checks(one)["judge/pair/jobs"].verdict == "Fail"
    assert checks(one)["judge/pair/jobs"].message.startswith(
        f"{round(0.01 * checks(one)['judge/pair/jobs'].value * checks(one)['judge/pair/jobs'].samples)} of"
    )
    assert checks(one)["judge/errorRate"].verdict != "Fail"


def test_a_guarded_release_is_rolled_back_by_them_too():
    one = go(released(jobs={"canary": 0.4}, judge="guarded"), 900)
    assert one.status.phase is Phase.FAILED


def test_a_healthy_release_is_promoted_and_no_job_counts_twice():
    one = released()
    go(one, 120)
    seen = checks(one)["judge/pair/jobs"]
    served = sum(scrape.requests["2"] + scrape.requests["5"] for scrape in newest(one.traffic.jobs.scrapes, "canary"))
    assert 0 < seen.samples <= served
    go(one, 900)
    assert one.status.phase is Phase.SUCCEEDED


def newest(scrapes, arm):
    """The last scrape of every process."""
    return {scrape.pod: scrape for scrape in sorted(scrapes, key=lambda scrape: scrape.ts) if scrape.arm == arm}.values()


def test_a_tick_that_was_decided_and_not_stored_counts_no_job_twice():
    plain_run, crashed = released(), released()
    go(plain_run, 400)
    go(crashed, 400, crash=lambda number: 0 if number % 3 == 0 else None)
    one, other = checks(plain_run).get("judge/pair/jobs"), checks(crashed).get("judge/pair/jobs")
    assert one is not None
    assert other is not None
    served = sum(scrape.requests["2"] + scrape.requests["5"] for scrape in newest(crashed.traffic.jobs.scrapes, "canary"))
    assert other.samples <= served


def test_a_pair_that_cannot_be_had_holds_the_release_and_says_why():
    one = released()
    one.traffic.broken = "p:9090 cannot be reached"
    go(one, 300)
    assert one.status.phase is Phase.PROGRESSING
    assert judge(one).verdict == "hold"
    assert "metric jobs: p:9090 cannot be reached" in judge(one).reason
    one.traffic.broken = ""
    go(one, 1200)
    assert one.status.phase is Phase.SUCCEEDED


def test_counters_that_know_no_latency_say_so_on_the_object():
    one = released()
    plain_counters = one.traffic.counters
    one.traffic.counters = lambda since, now, **more: replace(
        plain_counters(since, now, **more), note="latency is not compared: x is a summary"
    )
    go(one, 60)
    assert judge(one).reason.endswith("(latency is not compared: x is a summary)")


# ------------------------------------------------------------------------------------------------------- a real Prometheus


@pytest.mark.slow
async def test_a_real_prometheus_gives_every_job_once(tmp_path):
    if reason := tools.missing(["prometheus"]):
        absent(reason)
    end, lines = int(time.time()), []
    for number in range(20):
        at = (end - (19 - number) * 15) * 1000
        for app, pod, each, bad in (
            ("podinfo", "podinfo-a", 7, 2),
            ("podinfo-primary", "podinfo-primary-a", 30, 0),
            ("other", "other-a", 99, 9),
        ):
            labels = f'namespace="test",app="{app}",pod="{pod}"'
            # the canary's process restarts once
            count = each * (number - 10 if app == "podinfo" and number >= 10 else number)
            lines.append(f"jobs_total{{{labels}}} {count} {at}")
            lines.append(f'jobs_failed_total{{{labels},kind="mail"}} {count // each * bad} {at}')
    with world.prometheus(tmp_path, "\n".join(lines) + "\n", ready='jobs_total{app="other"}') as url:
        marks, seen, main = Marks(), [], Counters(0)
        for at in range(end - 12 * 15 + 3, end + 4, 30):
            asker = Asker(metrics_server=url, now=lambda at=at: at)
            main = await asker.counters(canary(), CONTOUR, since=marks.since, timeout=5.0, cluster=cluster_with("jobs", address=url))
            news = fresh(main, marks)
            found = paired(main, marks, news.marks)
            seen.append(found.arms["jobs"])
            marks = Marks.parse(found.marks.text())
            await asker.close()
        wrong = cluster_with("jobs", address=url, total="sum(rate(jobs_total[1m]))")
        asker = Asker(metrics_server=url, now=lambda: end)
        refused = await asker.counters(canary(), CONTOUR, since=end - 20, timeout=5.0, cluster=wrong)
        past = await asker.past(canary(), CONTOUR, timeout=5.0, cluster=cluster_with("jobs", address=url))
        await asker.close()
    assert (main.error, seen[0]) == ("", (None, None))
    assert [sum(getattr(arms[side], what) for arms in seen[1:]) for side in (0, 1) for what in ("total", "errors")] == [77, 22, 360, 0]
    assert {tick.primary.total for tick in past.pairs["jobs"]} == {30}
    assert "ranges only allowed for vector selectors" in refused.pairs["jobs"].error
