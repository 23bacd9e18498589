"""What upstream's code makes of values that its schema lets pass, and the names that follow from a spec."""

import pytest

from canary.api.analysis import AlertSeverity, Analysis, Metric, SessionAffinity, Webhook, WebhookType
from canary.api.canary import parse_canary
from tests.api.manifests import edited


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1m", 60), ("1m30s", 90), ("1s", 1), ("5minutes", 60), ("", 60), ("0s", 1), ("100ms", 1), ("1h", 3600)],
)
def test_an_interval_that_is_no_duration_becomes_a_minute_and_none_is_below_a_second(text, seconds):
    assert Analysis(interval=text).interval_seconds == seconds


@pytest.mark.parametrize(("value", "count"), [(5, 5), (1, 1), (0, 1), (-3, 1)])
def test_a_threshold_is_at_least_one(value, count):
    assert Analysis(threshold=value).threshold_count == count


@pytest.mark.parametrize(
    ("fields", "weight"),
    [
        ({}, 100),
        ({"max_weight": 0}, 100),
        ({"max_weight": 50}, 50),
        ({"max_weight": -1}, 100),
        ({"step_weights": (1, 5, 80)}, 80),
        ({"step_weights": (1, 5, 200)}, 100),
        ({"step_weights": (1, 5), "max_weight": 50}, 5),
    ],
)
def test_the_largest_weight(fields, weight):
    assert Analysis(**fields).max_weight_effective == weight


def test_ready_thresholds_default_to_all_pods():
    assert (Analysis().primary_ready_percent, Analysis().canary_ready_percent) == (100, 100)
    given = Analysis(primary_ready_threshold=0, canary_ready_threshold=50)
    assert (given.primary_ready_percent, given.canary_ready_percent) == (0, 50)


@pytest.mark.parametrize(("text", "window", "seconds"), [("", "1m", 60), ("30s", "30s", 30), ("5minutes", "5minutes", 60)])
def test_the_window_of_a_check(text, window, seconds):
    metric = Metric(name="x", interval=text)
    assert (metric.interval_effective, metric.interval_seconds) == (window, seconds)


@pytest.mark.parametrize(
    ("fields", "bounds"),
    [
        ({"name": "request-success-rate", "threshold": 99}, (99, None)),
        ({"name": "request-duration", "threshold": 500}, (None, 500)),
        ({"name": "mine", "threshold": 5}, (None, 5)),
        ({"name": "mine", "threshold": 5, "threshold_range": {"min": 1}}, (1, None)),
        ({"name": "mine", "threshold": 5, "threshold_range": {}}, (None, None)),
        ({"name": "request-success-rate"}, (0, None)),
        ({"name": "mine"}, (None, 0)),
    ],
)
def test_the_bounds_of_a_check(fields, bounds):
    found = Metric(**fields).bounds
    assert (found.min, found.max) == bounds


def test_builtin_checks_are_known_by_name():
    assert [Metric(name=name).builtin for name in ("request-success-rate", "request-duration", "mine")] == [True, True, False]


@pytest.mark.parametrize(("text", "seconds"), [("", 10), ("5", 10), ("5s", 5), ("100ms", 0.1), ("1m", 60), ("5minutes", 10), ("0s", 10)])
def test_the_timeout_of_a_hook(text, seconds):
    assert Webhook(name="x", url="http://x/", timeout=text).timeout_seconds == seconds


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (3, 4), (-2, 1)])
def test_the_attempts_of_a_hook(retries, attempts):
    assert Webhook(name="x", url="http://x/", retries=retries).attempts == attempts


def test_a_hook_without_type_is_a_rollout_hook():
    assert Webhook(name="x", url="http://x/").type_effective is WebhookType.ROLLOUT
    assert Webhook(name="x", url="http://x/", type="event").type_effective is WebhookType.EVENT


@pytest.mark.parametrize("code", [199, 200, 202, 204, 299, 300, 302, 404, 500])
def test_success_is_every_2xx_unless_told_otherwise(code):
    """Upstream refuses 203 and above, contrary to its own documentation; that one is mended, not kept."""
    assert Webhook(name="x", url="http://x/").succeeds(code) is (200 <= code <= 299)
    assert Webhook(name="x", url="http://x/", success_codes=(204,)).succeeds(code) is (code == 204)


def test_an_alert_without_severity_is_info():
    canary = parse_canary(
        edited(
            analysis__alerts=[{"name": "x", "providerRef": {"name": "y"}}, {"name": "z", "severity": "error", "providerRef": {"name": "y"}}]
        )
    )
    assert [alert.severity_effective for alert in canary.spec.analysis.alerts] == [AlertSeverity.INFO, AlertSeverity.ERROR]


@pytest.mark.parametrize(("given", "seconds"), [({}, 86400), ({"max_age": 0}, 86400), ({"max_age": 60}, 60)])
def test_cookies_live_for_a_day_unless_told_otherwise(given, seconds):
    assert SessionAffinity(cookie_name="x", **given).max_age_effective == seconds


@pytest.mark.parametrize(("target_port", "effective"), [(..., 9898), (0, 9898), ("0", 9898), (8080, 8080), ("http", "http"), ("", 9898)])
def test_the_target_port_defaults_to_the_port(target_port, effective):
    assert parse_canary(edited(service__targetPort=target_port)).spec.service.target_port_effective == effective


def test_the_port_name_defaults_to_http():
    assert parse_canary(edited()).spec.service.port_name_effective == "http"
    assert parse_canary(edited(service__portName="grpc")).spec.service.port_name_effective == "grpc"


@pytest.mark.parametrize(("name", "apex"), [(..., "podinfo"), ("web", "web"), ("", "podinfo")])
def test_names_follow_from_the_service_or_else_the_target(name, apex):
    spec = parse_canary(edited(service__name=name)).spec
    assert (spec.apex_name, spec.apex_primary_name, spec.apex_canary_name) == (apex, f"{apex}-primary", f"{apex}-canary")
    assert (spec.target_name, spec.primary_name) == ("podinfo", "podinfo-primary")


def test_names_without_a_service_follow_from_the_target():
    assert parse_canary(edited(service=...)).spec.apex_name == "podinfo"


@pytest.mark.parametrize(("given", "seconds"), [(..., 600), (120, 120), (0, 0)])
def test_the_progress_deadline_is_ten_minutes_unless_told_otherwise(given, seconds):
    assert parse_canary(edited(progressDeadlineSeconds=given)).spec.progress_deadline == seconds


@pytest.mark.parametrize(
    ("api", "kind", "knative"),
    [("serving.knative.dev/v1", "Service", True), ("v1", "Service", False), ("serving.knative.dev/v1", "Deployment", False)],
)
def test_only_the_exact_version_makes_a_service_a_knative_one(api, kind, knative):
    assert parse_canary(edited(targetRef__apiVersion=api, targetRef__kind=kind)).spec.target_ref.is_knative is knative


def test_gateway_parents_have_the_defaults_of_the_schema():
    (gateway,) = parse_canary(edited(service__gatewayRefs=[{"name": "gw"}])).spec.service.gateway_refs
    assert (gateway.group, gateway.kind, gateway.namespace) == ("gateway.networking.k8s.io", "Gateway", None)
