"""What a well-formed Canary can still get wrong: rules between fields, and rules that depend on the operator's flags.

ERROR is for what upstream refuses to schedule or can never bring to a good end; such a canary is not run, and its conditions
say why. WARNING is for what upstream runs in its own way (an interval that is no duration becomes 60 s): the canary runs, the
warning is shown. A rule about the analysis only warns while `skipAnalysis` is set, because nothing is analysed then.
Rejected: stopping at the first problem, and repeating what the CRD's schema has refused already, except where objects reach
us that no API server has seen (`lint`, the sandbox).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from canary.api.analysis import SHORTEST_INTERVAL_SECONDS, Analysis, Metric, Role, Webhook, WebhookType
from canary.api.canary import PROVIDERS, SCALER_KINDS, TARGET_KINDS, Canary, CanarySpec
from canary.api.common import INTERVAL_PATTERN, parse_duration
from canary.api.errors import Level, Problem, did_you_mean
from canary.api.sequential import HIGHEST_ALPHA, HIGHEST_TOP_WEIGHT, Baseline, Judge

MAX_PORT = 65535
_TOLERATED_HOOKS = (WebhookType.EVENT, WebhookType.POST_ROLLOUT)
"""Hooks that cannot stop a release, so that a useless timeout only warns."""


def validate_semantics(canary: Canary, *, provider: str, no_cross_namespace_refs: bool) -> list[Problem]:
    """Why a canary that parses cannot be run; empty when it can. `provider` is what moves its traffic (spec, else flag)."""
    found = review(canary, provider=provider, no_cross_namespace_refs=no_cross_namespace_refs)
    return [problem for problem in found if problem.level is Level.ERROR]


def review(canary: Canary, *, provider: str, no_cross_namespace_refs: bool) -> list[Problem]:
    """Errors and warnings of a canary that parses."""
    spec = canary.spec
    found = [*_refs(spec), *_provider(spec, provider), *_service(spec, provider), *_schedule(spec, provider)]
    found += [*_numbers(spec.analysis), *_durations(spec.analysis), *_checks(spec.analysis), *_affinity(spec.analysis)]
    found += [*_judge(spec.analysis, provider), *_baseline(spec)]
    if no_cross_namespace_refs:
        found += _cross_namespace(canary)
    if spec.progress_deadline_seconds is not None and spec.progress_deadline_seconds < 0:
        found.append(Problem("spec.progressDeadlineSeconds", "is negative", "write seconds, such as 600", Level.WARNING))
    return [_softened(problem, spec) for problem in found]


def _softened(problem: Problem, spec: CanarySpec) -> Problem:
    """In the manifest's spelling, and only a warning where it concerns an analysis that is skipped."""
    always = "sessionAffinity" in problem.path or problem.path.endswith("Ref.namespace")
    level = Level.WARNING if spec.skip_analysis and problem.path.startswith("spec.analysis") and not always else problem.level
    path = problem.path.replace("spec.analysis", spec.analysis_path, 1)
    return Problem(path, problem.message, problem.hint, level)


# ------------------------------------------------------------------------------------------- what is released


def _refs(spec: CanarySpec) -> Iterator[Problem]:
    kinds = (
        ("targetRef", spec.target_ref, TARGET_KINDS),
        ("autoscalerRef", spec.autoscaler_ref, SCALER_KINDS),
        ("ingressRef", spec.ingress_ref, ("Ingress",)),
        ("routeRef", spec.route_ref, ("ApisixRoute",)),
        ("upstreamRef", spec.upstream_ref, ("Upstream",)),
    )
    for field, ref, known in kinds:
        if ref is None:
            continue
        if ref.kind not in known:
            hint = did_you_mean(ref.kind, known) or f"use {' or '.join(known)}"
            yield Problem(f"spec.{field}.kind", f"unknown kind {ref.kind!r}", hint)
        if not ref.name:
            yield Problem(f"spec.{field}.name", "is empty", "name an object of the same namespace")


def _provider(spec: CanarySpec, provider: str) -> Iterator[Problem]:
    if spec.provider and spec.provider not in PROVIDERS:
        hint = did_you_mean(spec.provider, PROVIDERS) or f"use one of {', '.join(PROVIDERS)}"
        yield Problem("spec.provider", f"unknown provider {spec.provider!r}", hint)
    knative = spec.target_ref.is_knative
    if knative and spec.provider != "knative":
        yield Problem("spec.provider", "a Knative target needs the provider knative", "set spec.provider to knative")
    if spec.provider == "knative" and not knative:
        hint = "set targetRef to kind Service, apiVersion serving.knative.dev/v1, or use another provider"
        yield Problem("spec.provider", "the provider knative needs a Knative target", hint)
    if knative and spec.autoscaler_ref is not None:
        yield Problem("spec.autoscalerRef", "a Knative target scales itself", "remove autoscalerRef")
    if provider in ("nginx", "skipper") and spec.ingress_ref is None:
        yield Problem("spec.ingressRef", f"the provider {provider} needs an Ingress", "name it in ingressRef")
    if provider == "apisix" and spec.route_ref is None:
        yield Problem("spec.routeRef", "the provider apisix needs an ApisixRoute", "name it in routeRef")


def _service(spec: CanarySpec, provider: str) -> Iterator[Problem]:
    service = spec.service
    if service is None:
        if not spec.target_ref.is_knative:
            yield Problem("spec.service.port", "is missing", "add service with the port that callers use, such as port: 9898")
        return
    if not 1 <= service.port <= MAX_PORT:
        yield Problem("spec.service.port", f"{service.port} is no port", f"use a number from 1 to {MAX_PORT}")
    target_port = service.target_port
    if isinstance(target_port, int) and not 0 <= target_port <= MAX_PORT:
        yield Problem("spec.service.targetPort", f"{target_port} is no port", f"use a number from 1 to {MAX_PORT}, or a port's name")
    if service.delegation and (service.hosts or service.gateways):
        yield Problem("spec.service.delegation", "a delegate has neither hosts nor gateways", "remove hosts and gateways")
    if not provider.startswith("gatewayapi"):
        return
    for index, mirror in enumerate(service.mirror):
        if mirror.backend_ref is None:
            yield Problem(f"spec.service.mirror[{index}].backendRef", "is missing", "name the Service that gets the copy")


# -------------------------------------------------------------------------------------------- how it advances


def _schedule(spec: CanarySpec, provider: str) -> Iterator[Problem]:
    analysis = spec.analysis
    given = analysis.given_schedules
    for field in ("interval", "threshold"):
        if field not in analysis.model_fields_set:
            yield Problem(f"spec.analysis.{field}", "is required", "write it, such as " + _EXAMPLES[field])
    if len(given) > 1:
        yield Problem("spec.analysis", f"{' and '.join(given)} exclude each other", "keep one of them")
    elif not given and analysis.match:
        yield Problem("spec.analysis.iterations", "an A/B test needs a number of checks", "add iterations, such as 10")
    elif not given:
        yield Problem("spec.analysis", "nothing says how to advance", "add one of stepWeight, stepWeights or iterations")
    elif not any((analysis.iterations, analysis.step_weight, *analysis.step_weights)) and provider != "kubernetes":
        hint = "use a number above 0, or skipAnalysis"
        yield Problem(f"spec.analysis.{given[0]}", "is 0, so that a release never advances", hint, Level.WARNING)
    if provider == "kubernetes" and analysis.match:
        hint = "remove match, or use a provider that routes by header"
        yield Problem("spec.analysis.match", "is ignored: the provider kubernetes cannot route by header", hint, Level.WARNING)
    if provider == "kubernetes" and given and analysis.iterations < 1:
        message = f"{given[0]} is not used: the provider kubernetes has no weights, so 10 iterations are made"
        yield Problem(f"spec.analysis.{given[0]}", message, "use iterations", Level.WARNING)


_EXAMPLES = {"interval": "interval: 1m", "threshold": "threshold: 5"}


def _numbers(analysis: Analysis) -> Iterator[Problem]:
    """Negative numbers: an error where a release could not go on, a warning where upstream has a meaning for them."""
    values = (
        ("iterations", analysis.iterations, Level.ERROR),
        ("threshold", analysis.threshold, Level.WARNING),
        ("maxWeight", analysis.max_weight, Level.WARNING),
        ("stepWeight", analysis.step_weight, Level.ERROR),
        *((f"stepWeights[{index}]", weight, Level.ERROR) for index, weight in enumerate(analysis.step_weights)),
        ("stepWeightPromotion", analysis.step_weight_promotion, Level.ERROR),
        ("mirrorWeight", analysis.mirror_weight, Level.ERROR),
        ("primaryReadyThreshold", analysis.primary_ready_threshold, Level.WARNING),
        ("canaryReadyThreshold", analysis.canary_ready_threshold, Level.WARNING),
        *((f"webhooks[{index}].retries", hook.retries, Level.WARNING) for index, hook in enumerate(analysis.webhooks)),
        *((f"metrics[{index}].minSamples", metric.min_samples, Level.ERROR) for index, metric in enumerate(analysis.metrics)),
    )
    for field, value, level in values:
        if value is not None and value < 0:
            yield Problem(f"spec.analysis.{field}", f"{value} is negative", "use 0 or more", level)
    for index, (earlier, later) in enumerate(zip(analysis.step_weights, analysis.step_weights[1:], strict=False), 1):
        if later <= earlier:
            hint = "list the shares in rising order"
            yield Problem(f"spec.analysis.stepWeights[{index}]", f"{later} does not rise above {earlier}", hint, Level.WARNING)


def _durations(analysis: Analysis) -> Iterator[Problem]:
    if "interval" in analysis.model_fields_set:
        yield from _interval(analysis.interval)
    for index, metric in enumerate(analysis.metrics):
        if metric.interval:
            yield from _duration(f"spec.analysis.metrics[{index}].interval", metric.interval, Level.ERROR)
    for index, hook in enumerate(analysis.webhooks):
        if len(hook.timeout) >= 2:  # shorter texts mean the default, as upstream
            level = Level.WARNING if hook.type in _TOLERATED_HOOKS else Level.ERROR
            yield from _duration(f"spec.analysis.webhooks[{index}].timeout", hook.timeout, level)


def _interval(text: str) -> Iterator[Problem]:
    path = "spec.analysis.interval"
    if not re.match(INTERVAL_PATTERN, text):
        yield Problem(path, f"{text!r} must begin with minutes or seconds", "write it like 30s, 1m or 1m30s")
        return
    unused = [*_duration(path, text, Level.WARNING)]
    for problem in unused:
        yield Problem(path, f"{problem.message}; 60s is used", problem.hint, Level.WARNING)
    if not unused and parse_duration(text) < SHORTEST_INTERVAL_SECONDS:
        yield Problem(path, f"{text} is too short; 1s is used", "use 1s or more", Level.WARNING)


def _duration(path: str, text: str, level: Level) -> Iterator[Problem]:
    try:
        if parse_duration(text) <= 0:
            yield Problem(path, f"{text} is not above zero", "write it like 30s, 1m or 1m30s", level)
    except ValueError as error:
        yield Problem(path, str(error), "write it like 30s, 1m or 1m30s", level)


# ----------------------------------------------------------------------------------------- how it is judged


def _checks(analysis: Analysis) -> Iterator[Problem]:
    for index, metric in enumerate(analysis.metrics):
        yield from _check(f"spec.analysis.metrics[{index}]", metric)
        yield from _role(f"spec.analysis.metrics[{index}].role", metric, analysis.judge)
    for index, hook in enumerate(analysis.webhooks):
        yield from _hook(f"spec.analysis.webhooks[{index}]", hook)


def _check(path: str, metric: Metric) -> Iterator[Problem]:
    if not (metric.builtin or metric.query or metric.template_ref):
        hint = "use request-success-rate or request-duration, or add templateRef or query"
        yield Problem(path, f"{metric.name!r} is no built-in check and has neither a template nor a query", hint)
    bounds = metric.threshold_range
    if bounds is not None and bounds.min is not None and bounds.max is not None and bounds.min > bounds.max:
        yield Problem(f"{path}.thresholdRange", f"nothing is both above {bounds.min:g} and below {bounds.max:g}", "swap min and max")


def _role(path: str, metric: Metric, judge: Judge) -> Iterator[Problem]:
    if metric.role is Role.CRITICAL and metric.dry_run:
        yield Problem(path, "critical and dryRun exclude each other: one ends the run, the other decides nothing", "keep one of them")
    elif metric.critical and metric.builtin and judge is Judge.SEQUENTIAL:
        message = f"{metric.name} is not asked with judge: sequential: it is a limit, and evidence against it ends the run already"
        yield Problem(path, message, "remove role, or use judge: guarded", Level.WARNING)


def _hook(path: str, hook: Webhook) -> Iterator[Problem]:
    if not re.match(r"(?i:https?)://[^/\s]+", hook.url):
        level = Level.WARNING if hook.type in _TOLERATED_HOOKS else Level.ERROR
        yield Problem(f"{path}.url", f"{hook.url!r} is no HTTP URL", "write it like http://host.namespace/path", level)


def _affinity(analysis: Analysis) -> Iterator[Problem]:
    affinity = analysis.session_affinity
    if affinity is not None and affinity.cookie_name == affinity.primary_cookie_name:
        path = "spec.analysis.sessionAffinity.primaryCookieName"
        yield Problem(path, f"is the same as cookieName ({affinity.cookie_name!r})", "give the two cookies different names")


# ------------------------------------------------------------------------------------------- who judges it


def _judge(analysis: Analysis, provider: str) -> Iterator[Problem]:
    """Evidence compares two versions that get their shares of the same requests, and sees requests only where the mesh counts both."""
    judge, path = analysis.judge, "spec.analysis.judge"
    if judge is Judge.THRESHOLD:
        if "sequential" in analysis.model_fields_set:
            yield Problem("spec.analysis.sequential", "is not used: judge is threshold", "add judge: sequential, or guarded", Level.WARNING)
        return
    if provider == "kubernetes":
        hint = "use contour, istio or gatewayapi:v1, or judge: threshold"
        yield Problem(path, f"{judge} needs weights and requests counted by version; the provider kubernetes has neither", hint)
    if analysis.iterations > 0:
        yield Problem(path, f"{judge} needs a weighted release, and iterations make another", "use stepWeight or stepWeights")
    if analysis.match:
        yield Problem(
            path, f"{judge} compares equal requests, and match sends other ones to the canary", "remove match, or use judge: threshold"
        )
    yield from _sequential_values(analysis)
    if judge is Judge.SEQUENTIAL:
        yield from _sequential_release(analysis)


def _sequential_values(analysis: Analysis) -> Iterator[Problem]:
    """What the schema has checked already, for objects that no API server has seen; and what it cannot check."""
    chosen = analysis.sequential
    for field, text in (("warmup", chosen.warmup), ("minDuration", chosen.min_duration), ("maxDuration", chosen.max_duration)):
        path = f"spec.analysis.sequential.{field}"
        try:
            if text and (seconds := parse_duration(text)) < (1 if field == "maxDuration" else 0):
                yield Problem(path, f"{text} is too short ({seconds:g} s)", "write it like 90s, 10m or 1h30m")
        except ValueError as error:
            yield Problem(path, str(error), "write it like 90s, 10m or 1h30m")
    if chosen.min_seconds > chosen.max_seconds:
        yield Problem("spec.analysis.sequential.minDuration", "is longer than maxDuration", "lower it, or raise maxDuration")
    for field, value in (("alpha", chosen.alpha), ("passAlpha", chosen.pass_alpha)):
        if value is not None and not 0 < value < HIGHEST_ALPHA:
            yield Problem(f"spec.analysis.sequential.{field}", f"{value:g} is no small probability", "use 0.01 for one in a hundred")


def _sequential_release(analysis: Analysis) -> Iterator[Problem]:
    top = analysis.max_weight_effective
    if top > HIGHEST_TOP_WEIGHT:
        field = f"stepWeights[{len(analysis.step_weights) - 1}]" if analysis.step_weights else "maxWeight"
        message = f"a canary with {top} % of the traffic leaves too little of it to compare with"
        yield Problem(f"spec.analysis.{field}", message, f"use at most {HIGHEST_TOP_WEIGHT}; 50 compares best")
    if analysis.session_affinity is not None:
        why = "a cookie keeps users on the canary, whatever its weight"
        hint = "remove sessionAffinity, or use judge: guarded"
        yield Problem("spec.analysis.sessionAffinity", f"does not go with judge: sequential: {why}", hint)


def _baseline(spec: CanarySpec) -> Iterator[Problem]:
    """A fresh baseline gets requests like the canary's, and only evidence looks at it. What no judge can compare, `_judge` has refused."""
    analysis, path = spec.analysis, "spec.analysis.baseline"
    if analysis.baseline is not Baseline.FRESH:
        return
    if spec.skip_analysis:
        yield Problem(path, "fresh is not used: skipAnalysis is set, so that nothing is compared", "remove one of them", Level.WARNING)
    if spec.target_ref.kind != "Deployment":
        yield Problem(path, f"fresh needs a second copy of the old version, and a {spec.target_ref.kind} has none", "remove baseline")
    if analysis.judge is Judge.THRESHOLD:
        yield Problem(path, "fresh is compared by evidence, and judge is threshold", "add judge: guarded or sequential, or remove baseline")
    if analysis.mirror:
        hint = "remove mirror, or baseline"
        yield Problem("spec.analysis.mirror", "does not go with baseline: fresh, which gets requests and no copies of them", hint)
    if analysis.session_affinity is not None and analysis.judge is Judge.GUARDED:
        why = "a cookie keeps users on the canary, and nobody on the baseline"
        hint = "remove sessionAffinity, or baseline"
        yield Problem("spec.analysis.sessionAffinity", f"does not go with baseline: fresh: {why}", hint)


def _cross_namespace(canary: Canary) -> Iterator[Problem]:
    own, spec = canary.metadata.namespace, canary.spec
    refs = [("spec.upstreamRef", spec.upstream_ref.namespace)] if spec.upstream_ref else []
    for index, metric in enumerate(spec.analysis.metrics):
        if metric.template_ref is not None:
            refs.append((f"spec.analysis.metrics[{index}].templateRef", metric.template_ref.namespace))
    refs += [
        (f"spec.analysis.alerts[{index}].providerRef", alert.provider_ref.namespace) for index, alert in enumerate(spec.analysis.alerts)
    ]
    for path, namespace in refs:
        if namespace and namespace != own:
            hint = "move the object there, or start the operator without -no-cross-namespace-refs"
            yield Problem(f"{path}.namespace", f"{namespace} is another namespace than {own}, and this operator forbids that", hint)
