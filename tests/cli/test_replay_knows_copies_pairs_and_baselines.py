"""`canary replay` of mirrored runs, of templates with pairs of counters and beside a fresh baseline: what the operator counted, and what no Prometheus remembers."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from canary.core.forecast.weights import GRID, Weights, with_copies
from canary.routers import queries
from canary.routers.istio import IstioRouter
from tests.cli.forecasts import BEGAN, canary, lines, manifest
from tests.forecast.prometheus import Mesh, Prometheus
from tests.metrics import counted_world
from tests.testbed import tools
from tests.testbed.absence import absent

pytestmark = pytest.mark.slow

USERS = BEGAN + 180
"""When copies are followed by the first weight."""
END = BEGAN + 1500
TEMPLATE = {
    "apiVersion": "flagger.app/v1beta1",
    "kind": "MetricTemplate",
    "metadata": {"name": "jobs", "namespace": "prod"},
    "spec": {
        "provider": {"type": "prometheus", "address": "http://elsewhere:9090"},
        "query": 'sum(count_over_time(jobs_total{namespace="{{ namespace }}",app="{{ target }}"}[{{ interval }}]))',
        "total": 'jobs_total{namespace="{{ namespace }}",app="{{ workload }}"}',
        "bad": 'jobs_failed_total{namespace="{{ namespace }}",app="{{ workload }}"}',
    },
}
PAIRED = {"metrics": [{"name": "jobs", "templateRef": {"name": "jobs"}, "interval": "1m", "thresholdRange": {"min": 1}}]}


def weight(ts):
    """10 % more each minute, once copies are over."""
    return 0 if ts <= USERS else min(50, 10 + 10 * int((ts - USERS - 1e-6) // 60))


@pytest.fixture
def prometheus():
    with Prometheus() as server:
        yield server


def recorded(server, *, copied=100, until=USERS, weights=weight, **more):
    mesh = Mesh(server)
    copies = lambda ts: copied if BEGAN < ts <= until else 0  # noqa: E731
    mesh.go_on(BEGAN - 3700, END, rate=100, weight=weights, copied=copies, **more)
    mesh.weights([(BEGAN - 300 + 15 * at, weights(BEGAN - 300 + 15 * at)) for at in range(int((END - BEGAN + 300) / 15))])


def replay(server, path, *more, first=BEGAN - 240):
    return canary("replay", "--manifest", path, "--metrics-server", server.url, "--from", first, "--to", END, *more)


def with_templates(path, *templates):
    Path(path).write_text(yaml.safe_dump_all([yaml.safe_load(Path(path).read_text()), *templates]))
    return path


def told(capsys):
    head, *events, end = lines(capsys.readouterr().out)
    return head, [one for one in events if one["event"] == "look"], [one for one in events if one["event"] == "step"], end


# ------------------------------------------------------------------------------------------------------------------- copies


def test_a_version_that_failed_copies_is_taken_back_though_it_never_had_a_weight(prometheus, tmp_path, capsys):
    recorded(prometheus, errors={"canary": 0.2}, until=BEGAN + 300, weights=lambda ts: 0)
    assert replay(prometheus, manifest(tmp_path, mirror=True), "--json") == 1
    head, looks, _, end = told(capsys)
    assert abs(head["from"] - BEGAN) <= GRID
    assert abs(head["to"] - BEGAN - 300) <= GRID
    assert {(one["weight"], one["copied"]) for one in looks} == {(0, 100)}
    assert end["elapsed"] <= 105
    assert "on copies of requests" in end["reason"]
    assert end["canary"] == {"requests": 0, "failed": 0}
    assert end["copies"]["failed"] > 100
    assert "Prometheus keeps no record of mirrored traffic" in head["notes"][0]


def test_a_healthy_version_goes_from_copies_to_users_and_shows_its_health_there(prometheus, tmp_path, capsys):
    recorded(prometheus)
    assert replay(prometheus, manifest(tmp_path, mirror=True), "--json") == 0
    head, looks, steps, end = told(capsys)
    assert abs(head["from"] - BEGAN) <= GRID
    copies = [one["copied"] for one in looks]
    assert copies == sorted(copies, reverse=True), "copies come first, and once"
    first = copies.index(0)
    assert 5 <= first <= 12
    assert looks[first]["weight"] == 10
    assert looks[first]["evidence"]["errorRate"]["canaryRequests"] == 0, "copies acquit nobody"
    assert end["verdict"] == "promote"
    assert 0 < end["copies"]["requests"] <= 180 * 100 * 1.1
    assert end["canary"]["requests"] == sum(one["canary"]["requests"] for one in looks if not one["copied"] and one["canary"])
    assert steps[0]["weight"] == 0
    assert steps[0]["threshold"] == "advance"


def test_people_see_when_copies_came_and_that_this_is_concluded(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=40)
    assert replay(prometheus, manifest(tmp_path, mirror=True, mirrorWeight=40)) == 0
    shown = capsys.readouterr().out
    assert "Copies of 40 % of the requests from " in shown
    assert "so long the canary answered requests at weight 0" in shown
    assert sum("  copies  canary" in line for line in shown.splitlines()) >= 5


def test_requests_of_hooks_are_no_copies(prometheus, tmp_path, capsys):
    recorded(prometheus, hooks=lambda ts: 40 if BEGAN - 120 <= ts <= BEGAN - 60 else 0)
    assert replay(prometheus, manifest(tmp_path, mirror=True), "--json") == 0
    assert abs(told(capsys)[0]["from"] - BEGAN) <= GRID


def test_when_copies_came_may_be_said(prometheus, tmp_path, capsys):
    recorded(prometheus, errors={"canary": 0.05})
    path = manifest(tmp_path, mirror=True)
    for weights in ("copies,copies,copies,10,20", "0s=copies,3m=10,4m=20"):
        assert replay(prometheus, path, "--json", "--weights", weights, first=BEGAN) == 1
        head, looks, _, _ = told(capsys)
        assert {one["copied"] for one in looks} == {100}
        assert "--weights says so" in head["notes"][0]
        assert head["to"] == END
    assert replay(prometheus, manifest(tmp_path), "--weights", "copies,10") == 2
    assert "add --set mirror=true" in capsys.readouterr().err


def test_a_mirrored_canary_without_copies_begins_with_its_first_weight_and_says_so(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=0)
    assert replay(prometheus, manifest(tmp_path, mirror=True), "--json") == 0
    head, looks, _, _ = told(capsys)
    assert abs(head["from"] - USERS) <= GRID
    assert {one["copied"] for one in looks} == {0}
    assert "No copies before the first weight" in head["notes"][0]


def test_nothing_is_released_without_weights_and_copies(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=0, weights=lambda ts: 0)
    assert replay(prometheus, manifest(tmp_path, mirror=True)) == 4
    assert "and no copies came to it: no release to replay" in capsys.readouterr().err


def test_lost_copies_hold(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=40, until=END, weights=lambda ts: 0)
    assert replay(prometheus, manifest(tmp_path, mirror=True), "--json") in (1, 3)
    _, looks, _, _ = told(capsys)
    assert "where copies of 100 % of the requests promise" in looks[-1]["reason"]


def grid(*stretches):
    """Totals of a counter that grows by so much each 15 s within these stretches (begin, end, more)."""
    total, found = 0.0, {}
    for moment in range(0, 3000, 15):
        total += sum(more for begin, end, more in stretches if begin < moment <= end)
        found[float(moment)] = total
    return found


def test_copies_are_told_from_what_is_left_of_a_run():
    always = grid((0, 3000, 1500))
    weights = Weights(((0.0, 0), (600.0, 0), (615.0, 20), (900.0, 20), (915.0, 0), (2985.0, 0)))
    found = with_copies(weights, grid((300, 600, 1500), (600, 945, 300), (1500, 1620, 1400)), always, copied=100)
    assert found.copies == ((300.0, 615.0), (1500.0, 1620.0)), "scrapes of the first run that came late are none"
    assert found.run(0, 3000) == (300, 915)
    assert found.run(1000, 3000) == (1500, 1620)
    assert [found.copying(moment) for moment in (300, 301, 614, 615, 1620, 1621)] == [False, True, True, False, True, False]
    assert with_copies(weights, grid((300, 600, 60)), always, copied=100).copies == ()
    assert with_copies(weights, grid((300, 600, 60)), always, copied=10).copies == ((300.0, 615.0),)
    assert with_copies(weights, {}, always, copied=100) == weights


# -------------------------------------------------------------------------------------------------------------------- pairs


def test_a_version_whose_jobs_failed_is_taken_back_by_its_pair(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=0, jobs={"canary": 0.1, "primary": 0.001})
    path = with_templates(manifest(tmp_path, **PAIRED), TEMPLATE)
    assert replay(prometheus, path, "--json") == 1
    head, looks, _, end = told(capsys)
    assert "that jobs counts of the canary are bad" in end["reason"]
    assert looks[-1]["evidence"]["pair/jobs"]["canaryBad"] == sum(one["pairs"]["jobs"]["canary"]["failed"] for one in counting(looks))
    assert any("asked of --metrics-server" in note for note in head["notes"])


def counting(looks):
    return [one for one in looks if one["pairs"] and one["pairs"]["jobs"]["canary"]]


def test_a_healthy_version_shows_the_health_of_its_jobs(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=0, jobs={"canary": 0.001, "primary": 0.001})
    assert replay(prometheus, with_templates(manifest(tmp_path, **PAIRED), TEMPLATE), "--json") == 0
    *_, end = told(capsys)
    assert "bad by jobs are at most" in end["reason"]


def test_copies_make_jobs_too(prometheus, tmp_path, capsys):
    recorded(prometheus, until=BEGAN + 300, weights=lambda ts: 0, jobs={"canary": 0.2, "primary": 0.001})
    assert replay(prometheus, with_templates(manifest(tmp_path, mirror=True, **PAIRED), TEMPLATE), "--json") == 1
    *_, end = told(capsys)
    assert "on copies of requests" in end["reason"]
    assert "jobs counts" in end["reason"]


def test_a_template_that_is_not_in_the_file_is_named(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=0, jobs={"canary": 0.1, "primary": 0.001})
    assert replay(prometheus, manifest(tmp_path, **PAIRED), "--json") == 0
    head, looks, _, _ = told(capsys)
    assert any("jobs" in note and "not compared" in note for note in head["notes"])
    assert all(one["pairs"] == {} for one in looks)


def test_a_pair_that_counted_nothing_holds_as_it_would_have(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=0)
    patient = {"metrics": [PAIRED["metrics"][0] | {"noData": "hold"}]}
    assert replay(prometheus, with_templates(manifest(tmp_path, **patient), TEMPLATE), "--json") == 3
    *_, end = told(capsys)
    assert "the template of metric jobs counts nothing of the canary" in end["reason"]


def test_a_pair_too_many_is_refused_as_by_the_operator(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=0, jobs={"canary": 0.001, "primary": 0.001})
    names = ["jobs", "jobs-1", "jobs-2", "jobs-3"]
    metrics = [PAIRED["metrics"][0] | {"name": name, "templateRef": {"name": name}} for name in names]
    templates = [TEMPLATE | {"metadata": {"name": name, "namespace": "prod"}} for name in names]
    assert replay(prometheus, with_templates(manifest(tmp_path, metrics=metrics), *templates), "--json") == 3
    *_, end = told(capsys)
    assert "3 pairs of counters, and this is one more" in end["reason"]


# ------------------------------------------------------------------------------------------------------- a fresh baseline

BASELINE = 'reporter="source",destination_service_namespace="{{ namespace }}",destination_service_name="{{ service }}-baseline"'
FRESH = {"baseline": "fresh", "maxWeight": 0, "stepWeight": 11}


@pytest.fixture
def third(monkeypatch):
    """A mesh that counts the baseline's requests by themselves."""
    counted = queries.arm(requests="istio_requests_total", buckets="istio_request_duration_milliseconds_bucket", selector=BASELINE)
    monkeypatch.setattr(IstioRouter, "arm_queries", replace(IstioRouter.arm_queries, baseline=counted))


def third_of(ts):
    return min(33, weight(ts))


@pytest.mark.usefixtures("third")
def test_a_version_is_compared_with_the_fresh_baseline_that_ran_beside_it(prometheus, tmp_path, capsys):
    """Both fail as long as they are young: nobody's fault, which the primary would not have shown."""
    young = {"canary": 0.05, "baseline": 0.05}
    recorded(prometheus, copied=0, weights=third_of, baseline=third_of, errors=young)
    path = manifest(tmp_path, metrics=[], sequential={"minDuration": "5m", "margin": {"errorRate": 2}}, **FRESH)
    assert replay(prometheus, path, "--json") == 0
    head, looks, _, end = told(capsys)
    assert {(one["weight"], one["baseline"]) for one in looks} >= {(10, 10), (33, 33)}
    assert "fresh baseline, whose requests were counted" in head["notes"][0]
    assert "fresh baseline" in end["reason"]
    assert replay(prometheus, path, "--json", "--set", "baseline=primary") == 1


@pytest.mark.usefixtures("third")
def test_people_see_that_it_was_the_baseline(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=0, weights=third_of, baseline=third_of, errors={"canary": 0.2})
    assert replay(prometheus, manifest(tmp_path, **FRESH)) == 1
    assert "  baseline " in capsys.readouterr().out


@pytest.mark.usefixtures("third")
def test_a_baseline_that_never_ran_leaves_the_primary(prometheus, tmp_path, capsys):
    recorded(prometheus, copied=0, weights=third_of, errors={"canary": 0.2})
    assert replay(prometheus, manifest(tmp_path, **FRESH), "--json") == 1
    head, looks, _, _ = told(capsys)
    assert {one["baseline"] for one in looks} == {0}
    assert "Compared with the primary: no request of a fresh baseline" in head["notes"][0]


# ------------------------------------------------------------------------------------------------------- a real Prometheus


def page(series):
    """The text format: all points of all series, with their times."""
    lines = []
    for name, rows in series.items():
        for row in rows:
            labels = ",".join(f'{label}="{value}"' for label, value in row.labels.items())
            lines += [f"{name}{{{labels}}} {value} {round(ts * 1000)}" for ts, value in zip(row.times, row.values, strict=True)]
    return "\n".join(lines) + "\n"


def test_a_real_prometheus_tells_copies_and_pairs(tmp_path, capsys):
    if reason := tools.missing(["prometheus"]):
        absent(reason)
    began = time.time() // 15 * 15 - 900
    users, memory = began + 180, Prometheus()
    climbing = lambda ts: 0 if ts <= users else 20  # noqa: E731
    mesh = Mesh(memory)
    copies = lambda ts: 100 if began < ts <= users else 0  # noqa: E731
    mesh.go_on(began - 1500, began + 840, rate=300, weight=climbing, copied=copies, jobs={"canary": 0.001, "primary": 0.001})
    mesh.weights([(began - 600 + 15 * at, climbing(began - 600 + 15 * at)) for at in range(97)])
    path = with_templates(manifest(tmp_path, mirror=True, **PAIRED), TEMPLATE)
    with counted_world.prometheus(tmp_path, page(memory.series), ready="flagger_canary_weight") as url:
        ask = ("replay", "--manifest", path, "--metrics-server", url, "--from", began - 500, "--to", began + 800, "--json")
        assert canary(*ask) == 3, "20 % for ten minutes is not the top weight"
        head, looks, _, end = told(capsys)
        assert canary(*ask, "--set", "maxWeight=20") == 0
    assert abs(head["from"] - began) <= GRID
    assert [one["copied"] for one in looks] == sorted((one["copied"] for one in looks), reverse=True)
    assert looks[0]["copied"] == 100
    assert end["copies"]["requests"] > 30_000
    assert len(counting(looks)) > 30
    assert looks[-1]["evidence"]["pair/jobs"]["canaryRequests"] > 10_000
