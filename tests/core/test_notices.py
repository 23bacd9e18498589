"""Texts of events and alerts: fragments that scripts grep, specific kinds, severities (reference 2.17, 2.18, flagger-analysis 5.2)."""

from __future__ import annotations

import inspect
import re

import pytest

from canary.api.analysis import Webhook
from canary.api.status import Phase
from canary.core.notices import Voice
from canary.core.telling import Notice, Severity
from tests.core.simulate import World

HOOK = Webhook(name="acceptance", type="pre-rollout", url="http://tester/")
SAMPLE: dict[str, object] = {
    "what": "target",
    "message": "0 of 2 pods available",
    "errors": ("prometheus: refused",),
    "weight": 20,
    "mirrored": False,
    "fresh": True,
    "done": 2,
    "total": 5,
    "hook": HOOK,
    "text": "success rate 50.00% < 99%",
    "which": "canary app.test",
    "failed": 5,
    "iterations": 10,
    "by": "kustomize-controller",
    "said": "abort by alice: the cache is cold",
    "against": "failed checks threshold reached 5",
    "command": "abbort@1",
    "why": "unknown verb 'abbort'",
    "images": {"app": "app:1"},
    "kind": "RevertDrift",
    "reason": "Rolled back after 62 s at 4 %: 31 of 1 480 canary requests failed (2.1 %).",
}


def voice(phase: Phase = Phase.PROGRESSING) -> Voice:
    return Voice(World().canary, phase)


def say(name: str, **fields: object) -> Notice:
    method = getattr(voice(), name)
    wanted = inspect.signature(method).parameters
    notice = method(**{key: {**SAMPLE, **fields}[key] for key in wanted})
    assert isinstance(notice, Notice)
    return notice


NAMES = [name for name, member in inspect.getmembers(Voice, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize(
    ("name", "anchor"),
    [
        ("initialized", r"^Initialization done! app\.test"),
        ("pinned", r"^Initialization of app-primary\.test with what was promoted last \(app:1\)"),
        ("not_pinned", r"^Initialization of app-primary\.test with the template of app\.test"),
        ("rejected_again", r"^Halt app\.test advancement waiting for a person"),
        ("new_revision", r"^New revision detected! Scaling up app\.test, and app-baseline\.test to compare it with$"),
        ("baseline_given_up", r"^app\.test is compared with its primary .* \(app-baseline\.test\): unknown verb"),
        ("restarted", r"^New revision detected! Restarting analysis for app\.test"),
        ("started", r"^Starting canary analysis for app\.test"),
        ("weight", r"^Advance app\.test canary weight 20$"),
        ("iteration", r"^Advance app\.test canary iteration 2/5$"),
        ("primary_weight", r"^Advance app\.test primary weight 20$"),
        ("cut_over", r"^Routing all traffic to canary"),
        ("to_primary", r"^Routing all traffic to primary"),
        ("promoting", r"^Copying app\.test template spec to app-primary\.test"),
        ("promoted", r"^Promotion completed! Scaling down app\.test"),
        ("promoted_without_analysis", r"^Promotion completed! .*skipped"),
        ("check_failed", r"^Halt app\.test advancement success rate 50\.00% < 99%$"),
        ("no_values", r"^Halt advancement no values found for "),
        ("hook_failed", r"^Halt app\.test advancement external check acceptance failed"),
        ("gate_rollout", r"^Halt app\.test advancement waiting for approval acceptance"),
        ("gate_traffic", r"^Halt app\.test advancement waiting for traffic increase approval acceptance"),
        ("gate_promotion", r"^Halt app\.test advancement waiting for promotion approval acceptance"),
        ("rollback_signaled", r"Rollback check acceptance passed"),
        ("threshold_reached", r"^Rolling back app\.test failed checks threshold reached 5"),
        ("rolled_back", r"^Canary failed! Scaling down app\.test"),
        ("promotion_failed", r"^Promotion of app\.test failed, primary not ready"),
        ("suspended", r"suspended"),
        ("terminating", r"^Terminating canary app\.test"),
        ("terminated", r"^Terminated canary app\.test"),
    ],
)
def test_the_fragments_that_scripts_grep_are_there(name: str, anchor: str) -> None:
    assert re.search(anchor, say(name).message)


@pytest.mark.parametrize(
    ("kind", "anchor"),
    [
        ("confirm-rollout", "Confirm-rollout check acceptance passed"),
        ("pre-rollout", "Pre-rollout check acceptance passed"),
        ("confirm-promotion", "Confirm-promotion check acceptance passed"),
        ("confirm-traffic-increase", "Confirm-traffic-increase check acceptance passed"),
        ("post-rollout", "Post-rollout check acceptance passed"),
    ],
)
def test_a_passed_hook_is_named_with_its_type(kind: str, anchor: str) -> None:
    assert say("hook_passed", hook=HOOK.model_copy(update={"type": Webhook(name="x", url="y", type=kind).type})).message == anchor


@pytest.mark.parametrize("name", NAMES)
def test_every_notice_has_a_kind_of_its_own_words_and_fits_an_event(name: str) -> None:
    notice = say(name)
    assert re.fullmatch(r"([A-Z][a-z]+)+", notice.kind)
    assert 0 < len(notice.message) < 1024, "the API server refuses longer events"
    assert "\n" not in notice.message
    assert notice.message == notice.message.strip()


@pytest.mark.parametrize(
    ("name", "severity", "fields"),
    [
        ("initialized", Severity.INFO, True),
        ("new_revision", Severity.INFO, True),
        ("promoted", Severity.INFO, False),
        ("promoted_without_analysis", Severity.INFO, False),
        ("gate_rollout", Severity.WARN, False),
        ("gate_traffic", Severity.WARN, False),
        ("gate_promotion", Severity.WARN, False),
        ("rollback_signaled", Severity.WARN, False),
        ("threshold_reached", Severity.ERROR, False),
        ("promotion_failed", Severity.ERROR, False),
        ("stuck", Severity.ERROR, False),
    ],
)
def test_alerts_have_upstreams_severity_and_fields(name: str, severity: Severity, fields: bool) -> None:
    notice = say(name)
    assert (notice.severity, notice.with_fields) == (severity, fields)


@pytest.mark.parametrize("name", [name for name in NAMES if say(name).severity in (Severity.WARN, Severity.ERROR)])
def test_what_alarms_is_a_warning(name: str) -> None:
    assert say(name).warning


def test_notices_carry_the_phase_of_their_moment() -> None:
    assert voice(Phase.PROMOTING).to_primary().phase is Phase.PROMOTING
    assert voice(Phase.INITIALIZED).new_revision().phase is Phase.PROGRESSING, "revision events carry the phase to come"
    assert voice(Phase.PROGRESSING).rolled_back().phase is Phase.FAILED
