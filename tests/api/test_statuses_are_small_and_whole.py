"""Statuses: what is written is whole, small, stable, and in upstream's shape; what is damaged does not stop us."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from canary.api.analysis import ThresholdRange
from canary.api.common import Condition
from canary.api.status import BaselineStatus, CanaryStatus, CheckStatus, Phase, RunStatus, Verdict

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
FULL = CanaryStatus(
    phase=Phase.PROGRESSING,
    failed_checks=1,
    canary_weight=20,
    iterations=3,
    tracked_configs={"configmap/podinfo": "484637c76acaa7c6"},
    last_applied_spec="v2:abc",
    last_promoted_spec="v2:abd",
    last_transition_time=NOON,
    session_affinity_cookie="c=abcdefghij",
    primary_session_affinity_cookie="p=abcdefghij",
    previous_session_affinity_cookie="c=jihgfedcba",
    conditions=(
        Condition(type="Promoted", status="Unknown", reason="Progressing", message="m", last_update_time=NOON, last_transition_time=NOON),
    ),
    observed_generation=4,
    last_tracked_revision="v2:abc",
    last_handled_reconcile_at="2026-01-02T12:00:00Z",
    last_command="promote@1",
    run=RunStatus(
        id="0123456789abcdef",
        started_at=NOON,
        last_tick_time=NOON + timedelta(milliseconds=250),
        strategy="canary",
        images={"podinfod": "podinfo:6.0.1"},
        baseline_images={"podinfod": "podinfo:6.0.0"},
        source_revision="main@sha1:1",
        max_weight_reached=20,
        held="failed checks threshold reached 5",
        decided="retry by alice",
        baseline=BaselineStatus(compared="primary", reason="0 of 2 pods available", weight=20),
    ),
    checks=(
        CheckStatus(
            name="request-success-rate",
            verdict=Verdict.PASS,
            value=99.5,
            bound=ThresholdRange(min=99),
            query="up",
            window="1m",
            samples=12,
            source="prometheus",
            weight=20,
            time=NOON,
            message="99.50 >= 99",
            dry_run=True,
            critical=True,
        ),
    ),
    failure_reason="none",
)


def test_a_full_status_survives_the_wire():
    assert CanaryStatus.from_dict(FULL.to_dict()) == FULL
    assert CanaryStatus.from_dict(FULL.to_dict()).to_dict() == FULL.to_dict()


def test_names_on_the_wire_are_upstreams():
    assert {
        "phase",
        "failedChecks",
        "canaryWeight",
        "iterations",
        "trackedConfigs",
        "lastAppliedSpec",
        "lastPromotedSpec",
        "lastTransitionTime",
        "sessionAffinityCookie",
        "primarySessionAffinityCookie",
        "previousSessionAffinityCookie",
        "conditions",
    } <= FULL.to_dict().keys()


def test_an_empty_status_writes_the_phase_and_the_counters_and_nothing_else():
    assert CanaryStatus().to_dict() == {"phase": "", "failedChecks": 0, "canaryWeight": 0, "iterations": 0}


def test_a_condition_always_writes_its_message():
    """Argo CD's health check joins the messages of all conditions and fails on a missing one."""
    assert Condition(type="Ready", status="True", reason="Succeeded").to_dict()["message"] == ""


def test_empty_tracked_configs_differ_from_none():
    """The webhook checksum of upstream tells them apart."""
    assert "trackedConfigs" not in CanaryStatus().to_dict()
    assert CanaryStatus(tracked_configs={}).to_dict()["trackedConfigs"] == {}


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (NOON, "2026-01-02T12:00:00Z"),
        (NOON.astimezone(timezone(timedelta(hours=2))), "2026-01-02T12:00:00Z"),
        (NOON + timedelta(microseconds=250), "2026-01-02T12:00:00.000250Z"),
    ],
)
def test_times_are_written_in_utc_with_fractions_only_where_there_are_any(time, text):
    assert CanaryStatus(last_transition_time=time).to_dict()["lastTransitionTime"] == text


def test_a_time_without_zone_is_a_mistake_of_the_caller():
    with pytest.raises(ValidationError):
        CanaryStatus(last_transition_time=datetime(2026, 1, 2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_json_cannot_hold_is_left_out(value):
    check = CheckStatus(name="x", verdict=Verdict.FAIL, value=value)
    assert check.value is None
    assert "value" not in check.to_dict()


def test_what_upstream_wrote_is_read():
    written = {
        "canaryWeight": 0,
        "conditions": [
            {
                "lastTransitionTime": "2024-05-01T10:00:00Z",
                "lastUpdateTime": "2024-05-01T10:00:00Z",
                "message": "Canary analysis completed successfully, promotion finished.",
                "reason": "Succeeded",
                "status": "True",
                "type": "Promoted",
            }
        ],
        "failedChecks": 0,
        "iterations": 0,
        "lastAppliedSpec": "5d7c4b9c8f",
        "lastPromotedSpec": "5d7c4b9c8f",
        "lastTransitionTime": "2024-05-01T10:00:00Z",
        "phase": "Succeeded",
        "trackedConfigs": {},
    }
    status = CanaryStatus.from_dict(written)
    assert status.to_dict() == written
    assert status.condition("Promoted").reason == "Succeeded"
    assert status.condition("Ready") is None


def test_a_damaged_field_is_left_out_and_the_rest_is_read():
    status = CanaryStatus.from_dict({"phase": "finished", "canaryWeight": 2.5, "failedChecks": 3, "run": {"startedAt": "soon"}})
    assert (status.phase, status.canary_weight, status.failed_checks, status.run) == (Phase.NONE, 0, 3, None)


def test_statuses_cannot_be_changed_in_place():
    with pytest.raises(ValidationError):
        FULL.phase = Phase.FAILED
