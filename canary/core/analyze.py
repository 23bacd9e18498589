"""The checks of one analysis tick: rollout hooks, then metrics (reference 2.3 step 26, 2.9, 2.11).

At most one failed check is counted per tick, whatever the number of failures. Unlike upstream all metrics are asked and
shown, also those after the first failure, so that whoever reads the status at 3 a.m. sees the whole picture; the event is
still that of the first failure in upstream's order, unless a critical check ends the run: then it is that one's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from canary.api.analysis import Metric, WebhookType
from canary.api.status import CheckStatus, Phase, Verdict
from canary.core import judged_checks
from canary.core.evidence import LONGEST_QUERY, LONGEST_TEXT, shortened
from canary.core.gates import first_refusal
from canary.core.judged import deciding
from canary.core.model import MetricAsk, MetricSource, Sample
from canary.core.times import precise
from canary.core.turn import Turn
from canary.core.verdicts import Judged, Tally, excused, judge, unusable


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the checks of one tick do to the run, and, when a critical one failed (`fatal`), what it said."""

    tally: Tally
    fatal: str = ""

    @property
    def passed(self) -> bool:
        """Whether the release may advance."""
        return self.tally is Tally.ADVANCE


PASSED, FAILED, HELD = Outcome(Tally.ADVANCE), Outcome(Tally.FAILED), Outcome(Tally.HOLD)


@dataclass(frozen=True, slots=True)
class _Check:
    metric: Metric
    source: MetricSource | None
    judged: Judged
    sample: Sample


def pre_rollout(t: Turn) -> Outcome:
    """Before anything is routed: passed when all pre-rollout hooks did; else one failed check."""
    return PASSED if _hooks(t, WebhookType.PRE_ROLLOUT, silent=False) else FAILED


def passes(t: Turn) -> Outcome:
    """Run the analysis: may the release advance? If not, one failed check was counted, or a check said to hold."""
    if not _hooks(t, WebhookType.ROLLOUT, silent=True):
        return FAILED
    checks = _measure(t)
    t.measured = (*(_status(t, check) for check in checks), *judged_checks.own(t.status.checks))
    t.update(checks=t.measured)
    fatal = next((check for check in checks if check.judged.fatal), None)
    failed = fatal or next((check for check in checks if check.judged.counts is Tally.FAILED), None)
    if failed is not None:
        _say_failed(t, failed)
        count_failure(t)
        return replace(FAILED, fatal=fatal.judged.text) if fatal is not None else FAILED
    held = next((check for check in checks if check.judged.counts is Tally.HOLD), None)
    if held is not None:
        t.say(t.voice.check_held(held.judged.text))
        return HELD
    return PASSED


def count_failure(t: Turn) -> None:
    """One failed check more; the count never goes down in a run (Q17)."""
    t.update(failed_checks=t.status.failed_checks + 1)


def _hooks(t: Turn, kind: WebhookType, *, silent: bool) -> bool:
    hook, message = first_refusal(t, kind, phase=Phase.PROGRESSING, silent=silent)
    if hook is None:
        return True
    t.say(t.voice.hook_failed(hook, message))
    count_failure(t)
    return False


def _measure(t: Turn) -> list[_Check]:
    """All checks in upstream's order: built-in and inline ones in list order, then templates (and what cannot be asked)."""
    metrics = t.analysis.metrics
    first = [(index, source) for index, metric in enumerate(metrics) for source in _direct(t, metric)]
    second = [(index, _template(metric)) for index, metric in enumerate(metrics) if metric.template_ref or not _has_query(metric)]
    asks = [MetricAsk(index, source) for index, source in (*first, *second) if source is not None]
    answers = dict(zip(asks, t.samples(asks), strict=True))
    found = []
    for index, source in (*first, *second):
        metric = metrics[index]
        if source is None:
            found.append(_Check(metric, None, unusable(metric), Sample(provider="")))
        else:
            sample = answers[MetricAsk(index, source)]
            found.append(_Check(metric, source, judge(metric, source, sample), sample))
    return _excused(t, found) if t.judging and not deciding(t) else found


def _excused(t: Turn, checks: list[_Check]) -> list[_Check]:
    """Guarded: the built-in checks that failed are asked of the primary as well."""
    metrics = t.analysis.metrics
    asks = {
        place: MetricAsk(metrics.index(check.metric), MetricSource.PRIMARY)
        for place, check in enumerate(checks)
        if (check.judged.counts, check.judged.verdict, check.source) == (Tally.FAILED, Verdict.FAIL, MetricSource.BUILTIN)
    }
    samples = dict(zip(asks, t.samples([*asks.values()]), strict=True))
    theirs = {place: judge(checks[place].metric, MetricSource.BUILTIN, sample) for place, sample in samples.items()}
    return [
        check if check.source is None else replace(check, judged=excused(check.judged, theirs.get(place)))
        for place, check in enumerate(checks)
    ]


def _direct(t: Turn, metric: Metric) -> Iterator[MetricSource]:
    if metric.builtin and (metric.informational or not deciding(t)):  # else it is a limit that the judge knows
        yield MetricSource.BUILTIN
    if metric.query:
        yield MetricSource.QUERY


def _has_query(metric: Metric) -> bool:
    return metric.builtin or bool(metric.query)


def _template(metric: Metric) -> MetricSource | None:
    return MetricSource.TEMPLATE if metric.template_ref is not None else None


def _say_failed(t: Turn, check: _Check) -> None:
    judged = check.judged
    if judged.verdict is Verdict.NO_DATA:
        t.say(t.voice.no_values(judged.text))
    else:
        t.say(t.voice.check_failed(judged.text))


def _status(t: Turn, check: _Check) -> CheckStatus:
    metric, sample, judged = check.metric, check.sample, check.judged
    source = sample.provider
    if check.source is MetricSource.TEMPLATE and metric.template_ref is not None:
        source = f"template/{metric.template_ref.namespace or t.canary.metadata.namespace}/{metric.template_ref.name}"
    return CheckStatus(
        name=metric.name,
        verdict=judged.verdict,
        value=sample.value,
        bound=judged.bound,
        query=shortened(sample.query, LONGEST_QUERY),
        window=metric.interval_effective,
        samples=sample.samples,
        source=source,
        # without a query nobody was asked: the template, its Secret or its provider is missing
        provider=sample.provider if sample.query or not sample.error else "",
        error=shortened(sample.error, LONGEST_TEXT),
        weight=t.routes.canary,
        time=precise(t.now),
        message=shortened(judged.text, LONGEST_TEXT),
        dry_run=metric.informational,
        critical=metric.critical,
    )
