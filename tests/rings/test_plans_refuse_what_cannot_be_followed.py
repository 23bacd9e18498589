"""RolloutPlan: bad values are refused by the model and by the CRD alike, with the place and the way to mend it."""

from __future__ import annotations

import copy
from datetime import UTC, date, datetime
from typing import Any

import pytest

from canary.api.cron import parse_cron
from canary.api.errors import InvalidObject
from canary.api.rolloutplan import parse_rollout_plan
from canary.core.errors import Rejected
from canary.gitops.rings.windows import end_of, may, next_time, zone
from canary.sandbox.schema import Schema
from tests.api.upstream import our_crds, root_schema
from tests.rings.support import HOUR, T0, plan

SCHEMA = Schema(root_schema(our_crds()["rolloutplans.canary.dev"], "v1alpha1"))
GOOD: dict[str, Any] = {
    "apiVersion": "canary.dev/v1alpha1",
    "kind": "RolloutPlan",
    "metadata": {"name": "podinfo", "namespace": "prod"},
    "spec": {
        "canary": {"namespace": "prod", "name": "podinfo"},
        "rings": [
            {"name": "first", "bakeTime": "1h30m", "pass": {"succeeded": "95%", "missing": 2, "missingAfter": "6h"}},
            {"name": "second"},
        ],
        "freezes": [{"cron": "0 0 20 12 *", "duration": "336h", "tz": "Europe/Copenhagen"}],
    },
}
BAD: dict[str, dict[str, Any]] = {
    "no rings": {"rings": []},
    "ring as path": {"rings": [{"name": "../x"}]},
    "option as branch": {"rings": [{"name": "a", "branch": "--x"}]},
    "absolute path": {"rings": [{"name": "a", "path": "/etc"}]},
    "bake time without unit": {"rings": [{"name": "a", "bakeTime": "5"}]},
    "negative bake time": {"rings": [{"name": "a", "bakeTime": "-5m"}]},
    "share above all": {"rings": [{"name": "a", "pass": {"succeeded": "101%"}}]},
    "share as text": {"rings": [{"name": "a", "pass": {"succeeded": "most"}}]},
    "cluster as path": {"rings": [{"name": "a", "clusters": ["../x"]}]},
    "window of four fields": {"rings": [{"name": "a", "windows": [{"cron": "0 9 * *", "duration": "1h"}]}]},
    "unknown mode": {"mode": "push"},
    "unknown end of a halt": {"halt": {"then": "explode"}},
    "time zone that climbs": {"freezes": [{"cron": "* * * * *", "duration": "1h", "tz": "../x"}]},
    "no canary": {"canary": None},
}
MODEL_ONLY: dict[str, dict[str, Any]] = {
    "two rings of a name": {"rings": [{"name": "a"}, {"name": "a"}]},
    "two rings of a branch": {"mode": "branch", "rings": [{"name": "a"}, {"name": "b", "branch": "a"}]},
    "a later ring follows the source": {"mode": "branch", "rings": [{"name": "a"}, {"name": "b", "branch": "main"}]},
    "nested folders": {"mode": "overlay", "rings": [{"name": "a", "path": "x"}, {"name": "b", "path": "x/y"}]},
    "queue without branches": {"supersede": "queue"},
    "rings that have no branches go back": {"halt": {"then": "revert"}},
    "signatures on a shared branch": {"records": {"layout": "shared", "signatures": "required"}},
    "hour 25": {"freezes": [{"cron": "0 25 * * *", "duration": "1h"}]},
    "empty range": {"freezes": [{"cron": "0 5-3 * * *", "duration": "1h"}]},
    "no day": {"freezes": [{"cron": "0 0 * * someday", "duration": "1h"}]},
    "negative count": {"halt": {"failed": -1}},
}


def manifest(change: dict[str, Any]) -> dict[str, Any]:
    obj = copy.deepcopy(GOOD)
    obj["spec"] |= change
    obj["spec"] = {key: value for key, value in obj["spec"].items() if value is not None}
    return obj


def test_a_good_plan_is_accepted_by_both():
    assert SCHEMA.validate(SCHEMA.prune(copy.deepcopy(GOOD))) == []
    assert SCHEMA.prune(copy.deepcopy(GOOD)) == GOOD
    assert parse_rollout_plan(GOOD).spec.rings[0].bake == 1.5 * HOUR


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_refused_by_the_schema_and_by_the_model(name):
    assert SCHEMA.validate(SCHEMA.prune(manifest(BAD[name])))
    with pytest.raises(InvalidObject, match="spec"):
        parse_rollout_plan(manifest(BAD[name]))


@pytest.mark.parametrize("name", MODEL_ONLY)
def test_what_only_the_whole_plan_shows_is_refused_by_the_model(name):
    with pytest.raises(InvalidObject, match="spec"):
        parse_rollout_plan(manifest(MODEL_ONLY[name]))


def test_the_refusal_to_go_back_in_mode_gate_says_what_does_it_instead():
    with pytest.raises(InvalidObject, match=r"halt\.then: revert needs mode branch or overlay.*halt\.inFlight: abort"):
        parse_rollout_plan(manifest({"halt": {"then": "revert"}}))
    for mode in ("branch", "overlay"):
        assert parse_rollout_plan(manifest({"mode": mode, "halt": {"then": "revert"}})).spec.halt.then == "revert"


def test_a_plan_names_no_repository():
    """It is in the repository; what older plans say about it is dropped, as the API server drops what a CRD does not know."""
    old = manifest({"repository": {"url": "https://git.example/fleet.git"}})
    assert "repository" not in SCHEMA.prune(copy.deepcopy(old))["spec"]
    assert parse_rollout_plan(old) == parse_rollout_plan(GOOD)


# ----------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("text", "day", "matches"),
    [
        ("0 0 * * *", date(2027, 1, 15), True),
        ("0 0 * * fri", date(2027, 1, 15), True),
        ("0 0 * * 5", date(2027, 1, 14), False),
        ("0 0 * * 7", date(2027, 1, 17), True),
        ("0 0 * * 0", date(2027, 1, 17), True),
        ("0 0 13 * fri", date(2027, 1, 15), True),
        ("0 0 13 * fri", date(2027, 1, 13), True),
        ("0 0 13 * fri", date(2027, 1, 14), False),
        ("0 0 */2 * fri", date(2027, 1, 22), False),
        ("0 0 1-15/7 jan-mar,dec *", date(2027, 1, 15), True),
        ("0 0 1-15/7 feb *", date(2027, 1, 15), False),
    ],
)
def test_days_match_as_cron_matches_them(text, day, matches):
    assert parse_cron(text).on(day) is matches


def test_minutes_and_hours_are_lists_ranges_and_steps():
    rule = parse_cron("*/20,5 8-10/2 * * *")
    assert (rule.minutes, rule.hours) == ((0, 5, 20, 40), (8, 10))


def window(cron, duration, tz="UTC"):
    return plan(freezes=[{"cron": cron, "duration": duration, "tz": tz}]).spec.freezes


def test_nine_oclock_stays_nine_oclock_when_clocks_change():
    days = window("0 9 * * *", "1h", "Europe/Copenhagen")
    for day, hour in ((27, 8), (28, 7)):  # in 2027 clocks go forward on 28 March at 01:00Z
        midnight = datetime(2027, 3, day, tzinfo=UTC).timestamp()
        assert (next_time(days, (), midnight) - midnight) / HOUR == hour


def test_a_window_across_midnight_and_overlapping_freezes_end_when_the_last_one_ends():
    night = window("0 22 * * *", "4h")
    assert may(night, (), T0 + 17 * HOUR)  # 01:00
    assert not may(night, (), T0 + 18 * HOUR)  # 02:00, when it ends
    freezes = (*window("0 8 15 1 *", "24h"), *window("0 0 16 1 *", "48h"))
    assert end_of(freezes[:1], T0) == T0 + 24 * HOUR
    assert next_time((), freezes, T0) == T0 + 64 * HOUR


def test_a_window_that_never_comes_is_never():
    assert next_time(window("0 0 30 2 *", "1h"), (), T0) == float("inf")


def test_a_time_zone_that_is_not_known_says_so():
    with pytest.raises(Rejected, match="Mars/Olympus"):
        zone("Mars/Olympus")
