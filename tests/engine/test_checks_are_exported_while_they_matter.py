"""Series of single checks: there during a run and a while after it, then gone, and never more than there is room for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from canary.api.canary import Canary, parse_canary
from canary.engine import telemetry as module
from canary.engine.telemetry import LINGER, Telemetry

NOW = 1_800_000_000.0
RATE = "request-success-rate"


def canary(
    name: str = "web",
    *,
    phase: str = "Progressing",
    finished: float | None = None,
    metrics: list[Any] | None = None,
    checks: list[Any] | None = None,
) -> Canary:
    run: dict[str, Any] = {"id": "r1"}
    if finished is not None:
        run |= {"finishedAt": datetime.fromtimestamp(finished, UTC).isoformat(), "outcome": "Succeeded"}
    return parse_canary(
        {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": name, "namespace": "prod", "uid": name},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{name}-app"},
                "service": {"port": 80},
                "analysis": {
                    "interval": "1m",
                    "threshold": 5,
                    "stepWeight": 10,
                    "metrics": metrics if metrics is not None else [{"name": RATE, "thresholdRange": {"min": 99}}],
                },
            },
            "status": {
                "phase": phase,
                "run": run,
                "checks": checks if checks is not None else [{"name": RATE, "verdict": "Pass", "value": 99.5, "bound": {"min": 99}}],
            },
        }
    )


def series(telemetry: Telemetry, prefix: str = "canary_check_") -> dict[str, float]:
    """`name{labels}` to value."""
    lines = [line for line in telemetry.text().decode().splitlines() if line.startswith(prefix)]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def left_out(telemetry: Telemetry) -> float:
    return series(telemetry, "canary_checks_left_out_total")["canary_checks_left_out_total"]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(mesh_provider="istio")


def test_value_bound_and_verdict_have_the_same_labels_and_units(telemetry: Telemetry) -> None:
    duration = {"name": "request-duration", "verdict": "Fail", "value": 750.0, "bound": {"max": 500}}
    telemetry.observe(canary(metrics=[{"name": "request-duration", "thresholdRange": {"max": 500}}], checks=[duration]), None, now=NOW)
    labels = 'metric="request-duration",name="web",namespace="prod"'
    found = series(telemetry)
    assert found[f"canary_check_value{{{labels}}}"] == 750
    assert found[f'canary_check_bound{{bound="max",{labels}}}'] == 500
    assert found[f'canary_check_verdict{{{labels},verdict="Fail"}}'] == 1
    assert sum(found.values()) == 750 + 500 + 1
    assert series(telemetry, "flagger_canary_metric_analysis{") == {
        'flagger_canary_metric_analysis{metric="request-duration",name="web-app",namespace="prod"}': 0.75
    }


def test_a_check_without_data_has_a_verdict_and_no_value(telemetry: Telemetry) -> None:
    telemetry.observe(canary(), None, now=NOW)
    telemetry.observe(canary(checks=[{"name": RATE, "verdict": "NoData", "bound": {"min": 99}}]), None, now=NOW)
    found = series(telemetry)
    assert not any(name.startswith("canary_check_value") for name in found)
    assert [name for name, value in found.items() if 'verdict="' in name and value] == [
        f'canary_check_verdict{{metric="{RATE}",name="web",namespace="prod",verdict="NoData"}}'
    ]


def test_a_bound_that_moves_to_the_other_side_leaves_nothing_behind(telemetry: Telemetry) -> None:
    telemetry.observe(canary(), None, now=NOW)
    telemetry.observe(canary(checks=[{"name": RATE, "verdict": "Pass", "value": 1, "bound": {"max": 5}}]), None, now=NOW)
    assert [name for name in series(telemetry, "canary_check_bound") if "min" in name] == []


def test_checks_at_rest_are_not_exported(telemetry: Telemetry) -> None:
    """An operator that starts finds thousands of canaries with the checks of runs that are long over."""
    for phase in ("Succeeded", "Failed", "Initialized"):
        telemetry.observe(canary(phase, phase=phase, finished=NOW - LINGER - 1), None, now=NOW)
    telemetry.observe(canary("waits", phase="Waiting", finished=NOW - LINGER - 1), None, now=NOW)
    assert series(telemetry) == {}


def test_the_last_verdicts_stay_long_enough_to_be_scraped_and_then_go(telemetry: Telemetry) -> None:
    telemetry.observe(canary(), None, now=NOW)
    before = series(telemetry)
    telemetry.observe(canary(phase="Succeeded", finished=NOW), None, now=NOW + LINGER - 1)
    assert series(telemetry) == before
    telemetry.observe(canary(phase="Succeeded", finished=NOW), None, now=NOW + LINGER)
    assert series(telemetry) == {}
    assert telemetry._count == 0


def test_a_check_that_left_the_spec_goes(telemetry: Telemetry) -> None:
    telemetry.observe(canary(), None, now=NOW)
    other = [{"name": "mine", "verdict": "Pass", "value": 1}]
    telemetry.observe(canary(metrics=[{"name": "mine", "query": "up"}], checks=other), None, now=NOW)
    assert not any(RATE in name for name in series(telemetry))


def test_a_deleted_canary_leaves_nothing(telemetry: Telemetry) -> None:
    telemetry.observe(canary(), None, now=NOW)
    telemetry.forget("prod", "web")
    assert series(telemetry) == {}
    assert series(telemetry, "flagger_canary_metric_analysis{") == {}
    assert telemetry._count == 0
    telemetry.forget("prod", "web")


def test_more_checks_than_there_is_room_for_are_counted_and_get_room_when_others_go(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CHECKS", 3)
    for name in ("a", "b", "c", "d"):
        telemetry.observe(canary(name), None, now=NOW)
    assert len(series(telemetry, "canary_check_value")) == 3
    assert left_out(telemetry) == 1
    telemetry.observe(canary("a"), None, now=NOW)
    assert left_out(telemetry) == 1, "what is in stays in"
    telemetry.forget("prod", "a")
    telemetry.observe(canary("d"), None, now=NOW)
    assert any('name="d"' in name for name in series(telemetry, "canary_check_value"))
    assert left_out(telemetry) == 1
