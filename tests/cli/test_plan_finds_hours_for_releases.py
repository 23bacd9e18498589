"""`canary plan` end to end: a service that is busy by day, two weeks of it, and the hours that follow."""

import json
import time
from pathlib import Path

import pytest

from canary.cli.plan import _day
from canary.routers.contour import ContourRouter
from tests.cli.forecasts import canary, manifest
from tests.forecast.prometheus import Mesh, Prometheus

pytestmark = pytest.mark.slow

HOUR = 3600
WEEKS = 1


@pytest.fixture(scope="module")
def busy_by_day():
    """60 requests a second from 8 to 18 UTC, one in two otherwise; a scrape each quarter of an hour, and each 15 s lately."""
    now = time.time()
    full = now - now % HOUR
    rate = lambda ts: 60.0 if 8 <= (ts - 450) / HOUR % 24 < 18 else 0.5  # noqa: E731
    with Prometheus() as server:
        mesh = Mesh(server, every=900.0)
        mesh.go_on(full - (7 * WEEKS + 1) * 24 * HOUR, full - 4500, rate=rate)
        mesh.every = 15.0
        mesh.go_on(full - 4000, now, rate=rate)
        yield server


def plan(server, path, *more):
    return canary("plan", "--manifest", path, "--metrics-server", server.url, "--weeks", WEEKS, *more)


def test_evidence_has_its_hours(busy_by_day, tmp_path, capsys):
    assert plan(busy_by_day, manifest(tmp_path), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hours"] >= 165
    assert len(found["slots"]) >= 165
    by_name = {slot["slot"]: slot for slot in found["slots"]}
    noon, night = by_name["Wed 12:00"], by_name["Wed 02:00"]
    assert noon["requestsPerSecond"] == pytest.approx(60, rel=0.1)
    assert noon["errorRate"] == pytest.approx(0.001, rel=0.7)
    assert noon["seconds"] < 1800 < night["seconds"]
    assert noon["detectableExcess"] < night["detectableExcess"]
    assert night["maxExcessPerHourNeeded"] is not None
    assert "Wed 12:00" in found["good"]
    assert "Wed 02:00" not in found["good"]
    assert any("health cannot be shown within maxDuration" in text for text in found["advice"])


def test_counted_checks_are_told_where_they_take_back_healthy_versions(busy_by_day, tmp_path, capsys):
    assert plan(busy_by_day, manifest(tmp_path, judge="threshold"), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    by_name = {slot["slot"]: slot for slot in found["slots"]}
    assert by_name["Wed 02:00"]["falseFailedChecks"] > by_name["Wed 12:00"]["falseFailedChecks"]
    assert by_name["Wed 12:00"]["falseRollback"] < 0.01


def test_people_get_a_week_and_windows(busy_by_day, tmp_path, capsys):
    assert plan(busy_by_day, manifest(tmp_path), "--timezone", "Asia/Tokyo") == 0
    shown = capsys.readouterr().out
    assert "begins at this hour (Asia/Tokyo;" in shown
    assert sum(line[2:4] == ":0" for line in shown.splitlines()) == 24
    assert "\nRelease " in shown
    assert "-17:00" not in shown.split("Release")[1].split(".")[0], "18 UTC is 3 in Tokyo"


def test_copies_are_planned_for(busy_by_day, tmp_path, capsys):
    path = manifest(tmp_path, mirror=True)
    assert plan(busy_by_day, path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    by_name = {slot["slot"]: slot for slot in found["slots"]}
    noon, night = by_name["Wed 12:00"], by_name["Wed 02:00"]
    assert found["copied"] == 100
    assert 90 <= noon["secondsOfCopies"] < night["secondsOfCopies"] <= 945
    assert noon["seconds"] >= noon["secondsOfCopies"] + 60
    assert plan(busy_by_day, path) == 0
    assert "Copies of requests come before users: " in capsys.readouterr().out
    Path(path).write_text(Path(path).read_text().replace("provider: istio", "provider: contour"))
    assert plan(busy_by_day, path) == 4, "Contour's proxies have other series"


def test_no_requests_of_the_primary_are_named(tmp_path, capsys):
    with Prometheus() as empty:
        assert plan(empty, manifest(tmp_path)) == 4
    error, hint = capsys.readouterr().err.splitlines()
    assert "no requests of the primary of prod/podinfo" in error
    assert "--mesh-provider" in hint


def test_an_unknown_time_zone_is_a_usage_error(busy_by_day, tmp_path, capsys):
    assert plan(busy_by_day, manifest(tmp_path), "--timezone", "Mars/Base") == 2
    assert "--timezone 'Mars/Base'" in capsys.readouterr().err


async def test_an_hour_has_the_requests_of_all_who_answer():
    """A canary and a baseline had parts of the traffic then; the error rate is the primary's."""
    queries = ContourRouter.arm_queries
    hourly = {"-primary_": [("200", 900.0), ("503", 9.0)], "-canary_": [("", 300.0)], "-baseline_": [("", 300.0)]}

    class Server:
        async def series(self, text, at):
            if "_time_bucket" in text:
                return []
            found = next(rows for name, rows in hourly.items() if name in text)
            return [{"metric": {"envoy_response_code": code}, "values": [[at, str(count)]]} for code, count in found]

    [hour] = (await _day(Server(), queries, 7200.0)).values()
    assert (hour.began, hour.total, hour.requests, hour.errors) == (3600.0, 1509.0, 909.0, 9.0)
