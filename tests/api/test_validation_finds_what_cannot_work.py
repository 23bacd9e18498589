"""Rules between fields: what upstream refuses or can never bring to an end is an error; what it runs in its own way, a warning."""

import pytest

from canary.api.canary import parse_canary
from canary.api.errors import Level
from canary.api.validation import review, validate_semantics
from tests.api.manifests import edited, plain

KNATIVE = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "podinfo"}
HPA = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "podinfo"}
HOOK = {"name": "x", "url": "http://x/"}
MATCH = [{"headers": {"x": {"exact": "y"}}}]


def found(obj, *, provider="istio", closed=False):
    canary = parse_canary(obj)
    return review(canary, provider=canary.spec.provider or provider, no_cross_namespace_refs=closed)


def errors(obj, *, provider="istio", closed=False):
    canary = parse_canary(obj)
    problems = validate_semantics(canary, provider=canary.spec.provider or provider, no_cross_namespace_refs=closed)
    return [problem.path for problem in problems]


ERRORS = {
    "unknown kind": (edited(targetRef__kind="StatefulSet"), "spec.targetRef.kind", "use DaemonSet or Deployment or Service"),
    "misspelt kind": (edited(targetRef__kind="Deploymnt"), "spec.targetRef.kind", "did you mean Deployment?"),
    "no target name": (edited(targetRef__name=""), "spec.targetRef.name", "name an object"),
    "unknown scaler": (edited(autoscalerRef={**HPA, "kind": "Scaler"}), "spec.autoscalerRef.kind", "HorizontalPodAutoscaler"),
    "unknown provider": (edited(provider="itsio"), "spec.provider", "did you mean istio?"),
    "Knative target, other provider": (edited(targetRef=KNATIVE, provider="istio"), "spec.provider", "set spec.provider to knative"),
    "Knative target, flag only": (edited(targetRef=KNATIVE), "spec.provider", "set spec.provider to knative"),
    "Knative provider, other target": (edited(provider="knative"), "spec.provider", "serving.knative.dev/v1"),
    "Knative with scaler": (edited(targetRef=KNATIVE, provider="knative", autoscalerRef=HPA), "spec.autoscalerRef", "remove"),
    "no service": (edited(service=...), "spec.service.port", "port: 9898"),
    "port 0": (edited(service__port=0), "spec.service.port", "1 to 65535"),
    "port too large": (edited(service__port=70000), "spec.service.port", "1 to 65535"),
    "negative port": (edited(service__port=-1), "spec.service.port", "1 to 65535"),
    "target port too large": (edited(service__targetPort=70000), "spec.service.targetPort", "1 to 65535"),
    "delegate with hosts": (edited(service__delegation=True, service__hosts=["x"]), "spec.service.delegation", "remove hosts"),
    "two schedules": (edited(analysis__iterations=5), "spec.analysis", "keep one"),
    "no schedule": (edited(analysis__stepWeight=...), "spec.analysis", "add one of"),
    "A/B without iterations": (edited(analysis__stepWeight=..., analysis__match=MATCH), "spec.analysis.iterations", "add iterations"),
    "no interval": (edited(analysis__interval=...), "spec.analysis.interval", "interval: 1m"),
    "no threshold": (edited(analysis__threshold=...), "spec.analysis.threshold", "threshold: 5"),
    "interval in hours": (edited(analysis__interval="1h"), "spec.analysis.interval", "1m30s"),
    "empty interval": (edited(analysis__interval=""), "spec.analysis.interval", "1m30s"),
    "negative step": (edited(analysis__stepWeight=-5), "spec.analysis.stepWeight", "0 or more"),
    "negative iterations": (edited(analysis__stepWeight=..., analysis__iterations=-1), "spec.analysis.iterations", "0 or more"),
    "negative promotion step": (edited(analysis__stepWeightPromotion=-1), "spec.analysis.stepWeightPromotion", "0 or more"),
    "negative mirror weight": (edited(analysis__mirrorWeight=-1), "spec.analysis.mirrorWeight", "0 or more"),
    "window is no duration": (
        edited(analysis__metrics=[{"name": "request-duration", "interval": "5minutes"}]), "spec.analysis.metrics[0].interval", "1m30s",
    ),
    "timeout is no duration": (edited(analysis__webhooks=[{**HOOK, "timeout": "5minutes"}]), "spec.analysis.webhooks[0].timeout", "1m30s"),
    "hook without scheme": (edited(analysis__webhooks=[{"name": "x", "url": "load-tester"}]), "spec.analysis.webhooks[0].url", "http://host"),
    "check that asks nothing": (edited(analysis__metrics=[{"name": "mine"}]), "spec.analysis.metrics[0]", "templateRef or query"),
    "empty range": (
        edited(analysis__metrics=[{"name": "x", "query": "up", "thresholdRange": {"min": 5, "max": 1}}]),
        "spec.analysis.metrics[0].thresholdRange", "swap",
    ),
    "cookie names equal": (
        edited(analysis__sessionAffinity={"cookieName": "x", "primaryCookieName": "x"}),
        "spec.analysis.sessionAffinity.primaryCookieName", "different names",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_names_the_field_and_how_to_mend_it(name):
    obj, path, hint = ERRORS[name]
    (problem,) = [problem for problem in found(obj) if problem.level is Level.ERROR]
    assert problem.path == path
    assert hint in problem.hint
    assert errors(obj) == [path]


PROVIDER_ERRORS = {
    ("gatewayapi:v1", "spec.service.mirror[0].backendRef"): edited(service__gatewayRefs=[{"name": "x"}], service__mirror=[{}]),
    ("nginx", "spec.ingressRef"): plain(),
    ("skipper", "spec.ingressRef"): plain(),
    ("apisix", "spec.routeRef"): plain(),
}


@pytest.mark.parametrize(("provider", "path"), PROVIDER_ERRORS)
def test_a_provider_asks_for_what_it_needs(provider, path):
    obj = PROVIDER_ERRORS[provider, path]
    assert errors(obj, provider=provider) == [path]
    assert errors(obj, provider="istio") == []


WARNINGS = {
    "interval in words": (edited(analysis__interval="5minutes"), "spec.analysis.interval", "60s is used"),
    "interval too short": (edited(analysis__interval="100ms"), "spec.analysis.interval", "1s is used"),
    "interval zero": (edited(analysis__interval="0s"), "spec.analysis.interval", "not above zero"),
    "negative threshold": (edited(analysis__threshold=-1), "spec.analysis.threshold", "negative"),
    "negative maximum": (edited(analysis__maxWeight=-1), "spec.analysis.maxWeight", "negative"),
    "negative retries": (edited(analysis__webhooks=[{**HOOK, "retries": -1}]), "spec.analysis.webhooks[0].retries", "negative"),
    "negative readiness": (edited(analysis__canaryReadyThreshold=-1), "spec.analysis.canaryReadyThreshold", "negative"),
    "negative deadline": (edited(progressDeadlineSeconds=-1), "spec.progressDeadlineSeconds", "negative"),
    "step 0": (edited(analysis__stepWeight=0), "spec.analysis.stepWeight", "never advances"),
    "no steps": (edited(analysis__stepWeight=..., analysis__stepWeights=[]), "spec.analysis.stepWeights", "never advances"),
    "falling steps": (edited(analysis__stepWeight=..., analysis__stepWeights=[10, 5]), "spec.analysis.stepWeights[1]", "does not rise"),
    "event hook with odd timeout": (
        edited(analysis__webhooks=[{**HOOK, "type": "event", "timeout": "5minutes"}]), "spec.analysis.webhooks[0].timeout", "invalid duration",
    ),
    "event hook with odd url": (edited(analysis__webhooks=[{"name": "x", "type": "event", "url": "x"}]), "spec.analysis.webhooks[0].url", "no HTTP URL"),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_what_upstream_runs_in_its_own_way_only_warns(name):
    obj, path, message = WARNINGS[name]
    (problem,) = found(obj)
    assert (problem.path, problem.level) == (path, Level.WARNING)
    assert message in problem.message
    assert errors(obj) == []


def test_the_provider_kubernetes_warns_of_what_it_ignores():
    obj = edited(analysis__match=MATCH)
    assert [problem.path for problem in found(obj, provider="kubernetes")] == ["spec.analysis.match", "spec.analysis.stepWeight"]
    assert errors(obj, provider="kubernetes") == []


GOOD = {
    "plain": plain(),
    "testers by header while weights rise": edited(analysis__match=MATCH),
    "A/B": edited(analysis__stepWeight=..., analysis__iterations=10, analysis__match=MATCH),
    "rising steps": edited(analysis__stepWeight=..., analysis__stepWeights=[1, 5, 50]),
    "one second": edited(analysis__interval="1s"),
    "short timeout means the default": edited(analysis__webhooks=[{**HOOK, "timeout": "5"}]),
    "inline query": edited(analysis__metrics=[{"name": "mine", "query": "up"}]),
    "template": edited(analysis__metrics=[{"name": "mine", "templateRef": {"name": "t"}}]),
    "Knative without service": edited(targetRef=KNATIVE, provider="knative", service=...),
    "core Service": edited(targetRef__apiVersion="v1", targetRef__kind="Service"),
    "DaemonSet": edited(targetRef__kind="DaemonSet"),
    "two cookies": edited(analysis__sessionAffinity={"cookieName": "a", "primaryCookieName": "b"}),
    "delegate": edited(service__delegation=True),
    "bounds equal": edited(analysis__metrics=[{"name": "request-duration", "thresholdRange": {"min": 5, "max": 5}}]),
    "target port by name": edited(service__targetPort="http"),
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_said_of_what_is_good(name):
    assert found(GOOD[name], closed=True) == []


REFS = {
    "spec.upstreamRef.namespace": edited(
        upstreamRef={"apiVersion": "gloo.solo.io/v1", "kind": "Upstream", "name": "x", "namespace": "other"}
    ),
    "spec.analysis.metrics[0].templateRef.namespace": edited(
        analysis__metrics=[{"name": "x", "templateRef": {"name": "y", "namespace": "other"}}]
    ),
    "spec.analysis.alerts[0].providerRef.namespace": edited(
        analysis__alerts=[{"name": "x", "providerRef": {"name": "y", "namespace": "other"}}]
    ),
}


@pytest.mark.parametrize("path", REFS)
def test_other_namespaces_are_closed_only_where_the_operator_says_so(path):
    assert errors(REFS[path]) == []
    assert errors(REFS[path], closed=True) == [path]
    own = {**REFS[path], "metadata": {"name": "podinfo", "namespace": "other"}}
    assert errors(own, closed=True) == []


def test_a_skipped_analysis_is_only_warned_of():
    obj = edited(skipAnalysis=True, analysis__stepWeight=-5, analysis__metrics=[{"name": "mine"}])
    assert errors(obj) == []
    assert {problem.path for problem in found(obj)} == {"spec.analysis.stepWeight", "spec.analysis.metrics[0]"}


@pytest.mark.parametrize("path", [path for path in REFS if "analysis" in path])
def test_a_skipped_analysis_does_not_open_other_namespaces(path):
    obj = {**REFS[path], "spec": {**REFS[path]["spec"], "skipAnalysis": True}}
    assert errors(obj, closed=True) == [path]


def test_problems_are_told_under_the_older_name_where_that_is_used():
    obj = edited(analysis=..., canaryAnalysis={"interval": "1h", "threshold": 5, "stepWeight": -1})
    assert errors(obj) == ["spec.canaryAnalysis.stepWeight", "spec.canaryAnalysis.interval"]


def test_all_problems_are_told_at_once():
    obj = edited(targetRef__kind="Pod", service__port=0, analysis__iterations=1, analysis__interval="1h", provider="itsio")
    assert errors(obj) == ["spec.targetRef.kind", "spec.provider", "spec.service.port", "spec.analysis", "spec.analysis.interval"]
