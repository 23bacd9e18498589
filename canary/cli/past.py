"""What Prometheus still has of one run: its weights, its counters a stretch at a time, and its checks, asked as the operator asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from canary.api.analysis import Metric
from canary.api.metrictemplate import MetricTemplate, MetricTemplateSpec
from canary.api.sequential import Baseline
from canary.cli.forecasting import Manifest, Progress, Server
from canary.core.arms import ArmQueries, ArmSeries
from canary.core.counted import FIRST_WINDOW, Counters, Stage
from canary.core.errors import CanaryError, NotFound, Rejected
from canary.core.forecast.counted import copied
from canary.core.forecast.replay import Check, Look, Replay, Stepped
from canary.core.forecast.weights import GRID, Weights, with_copies
from canary.core.model import MetricSource, Sample
from canary.core.verdicts import judge
from canary.metrics import arms, pairs
from canary.metrics.base import Unreachable
from canary.metrics.gotemplate import TemplateError
from canary.metrics.prometheus import picked

if TYPE_CHECKING:
    from canary.core.judge import Sample as Scrape
    from canary.core.judge.counters import Side
    from canary.core.looked import Seen
    from canary.routers.base import Router

CHUNK = 540.0
"""Seconds of raw counters that one question asks for; the operator's own questions reach back ten minutes at most."""
LOOKBACK = 300.0
"""Seconds before a run in which its first copy is told from what was counted before."""

Ask = Callable[[float, float], Awaitable[Counters]]
"""The counters up to a moment, from another one on (Unix seconds)."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What a manifest asks of a mesh: the counters of both versions, and those of the pairs that its templates have."""

    manifest: Manifest
    router: Router
    pairs: Mapping[str, MetricTemplate] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", pairs.templates(self.manifest.canary, self.template))

    def arms(self, stage: Stage = Stage.USERS) -> ArmQueries:
        """Who counts the requests of both versions, or the copies, or those of a fresh baseline in the primary's place."""
        queries = self.router.arm_queries
        assert queries is not None  # else it was refused
        if stage is Stage.COPIES:
            return queries.copies or queries
        return replace(queries, primary=queries.baseline) if stage is Stage.BASELINE and queries.baseline else queries

    def template(self, metric: Metric) -> MetricTemplate:
        """The MetricTemplate of the same file. Raises NotFound."""
        assert metric.template_ref is not None
        key = (metric.template_ref.namespace or self.manifest.canary.metadata.namespace, metric.template_ref.name)
        if key not in self.manifest.templates:
            raise NotFound(f"the file has no MetricTemplate {key[1]}")
        return self.manifest.templates[key]

    def lacking(self) -> list[str]:
        """Names of metrics whose templates are not in the file, or ask something else than a Prometheus."""
        return [one.name for one in self.manifest.canary.spec.analysis.metrics if one.template_ref is not None and not self.query(one)]

    def query(self, metric: Metric) -> str:
        """The query of a template that asks a Prometheus; empty for others, which are taken to agree."""
        try:
            spec = self.template(metric).spec if metric.template_ref is not None else None
        except NotFound:
            return ""
        return spec.query if spec is not None and spec.provider.type == "prometheus" else ""


async def weights_of(server: Server, questions: Questions, between: tuple[float, float]) -> Weights:
    """Weights as the operator exported them, and copies as the canary answered them. Raises NotFound when the operator exported none."""
    canary, part = questions.manifest.canary, copied(questions.manifest.canary.spec.analysis)
    window = f"[{round((between[1] - between[0]) * 1000)}ms]"
    for label in ("namespace", "exported_namespace"):
        selector = f'flagger_canary_weight{{workload="{canary.spec.target_ref.name}",{label}="{canary.metadata.namespace}"}}'
        found = await server.series(f"{selector}{window}", between[1])
        points = sorted((float(ts), round(float(value))) for one in found for ts, value in one.get("values", ()))
        if points:
            weights = Weights(tuple(point for at, point in enumerate(points) if _changes(points, at)))
            return await _with_copies(server, questions, weights, between, part) if part else weights
    raise NotFound(
        f"the metrics server has no flagger_canary_weight of {questions.manifest.name} in this time",
        hint="the operator's /metrics must be scraped; or give the weights with --weights",
    )


def _changes(points: list[tuple[float, int]], at: int) -> bool:
    """Whether the weight is another one before or after this point."""
    return at in (0, len(points) - 1) or points[at + 1][1] != points[at][1] or points[at - 1][1] != points[at][1]


async def _with_copies(server: Server, questions: Questions, weights: Weights, between: tuple[float, float], part: int) -> Weights:
    queries, first = questions.arms(Stage.COPIES), between[0] - LOOKBACK
    mine, theirs = [await _totals(server, series, (first, between[1])) for series in (queries.canary, queries.primary)]
    return with_copies(weights, mine, theirs, copied=part)


async def _totals(server: Server, series: ArmSeries, between: tuple[float, float]) -> dict[float, float]:
    """Requests counted so far, at moments of the grid."""
    window = round(1000 * (between[1] - between[0]))
    found = await server.series(f"sum({series.requests})[{window}ms:{GRID:.0f}s]", between[1])
    return {float(ts): float(value) for one in found for ts, value in one.get("values", ())}


class _Tape:
    """Raw counters of one kind, asked a stretch at a time and kept as long as a look may need them."""

    def __init__(self, ask: Ask, *, known: float, ended: float) -> None:
        self._ask, self._known, self._ended = ask, known, ended
        self._scrapes: dict[tuple[str, str, float], Scrape] = {}
        self._error = self._note = ""

    async def counters(self, at: float, since: float) -> Counters:
        """What the operator would have got at this moment."""
        while self._known < at:
            upto = min(self._known + CHUNK, max(at, self._ended))
            found = await self._ask(upto, self._known)
            self._error, self._note = found.error, found.note
            self._scrapes |= {(one.arm, f"{one.pod}{one.replica}", one.ts): one for one in found.scrapes}
            self._known = upto
        self._scrapes = {key: one for key, one in self._scrapes.items() if one.ts > at - 2 * CHUNK}
        inside = tuple(one for one in self._scrapes.values() if since < one.ts <= at)
        return Counters(at, inside, error=self._error, note=self._note)


class RunOfThePast:
    """One run, tick by tick."""

    def __init__(self, server: Server, questions: Questions, weights: Weights, run: tuple[float, float]) -> None:
        self._server, self._questions, self._weights = server, questions, weights
        self._analysis = questions.manifest.canary.spec.analysis
        self._began, self._ended = run
        self._tapes: dict[tuple[str, Stage], _Tape] = {}
        self._baseline = Baseline.PRIMARY
        self._progress = Progress()

    # ------------------------------------------------------------------------------------------------ what is not known

    def notes(self, *, told: bool) -> list[str]:
        """What the past does not tell, in sentences. `told`: the weights are those of the command line."""
        found = [*self._about_copies(told=told), *self._about_baseline()]
        if missing := self._questions.lacking():
            why = "the file has no MetricTemplate for them, or one that asks no Prometheus"
            found.append(f"Taken to agree, and not compared: {', '.join(missing)} ({why}).")
        if paired := self._questions.pairs:
            found.append(f"Pairs of counters ({', '.join(paired)}) are asked of --metrics-server, whatever the address of their templates.")
        return found

    def _about_copies(self, *, told: bool) -> list[str]:
        part = copied(self._analysis)
        if self._questions.manifest.uncopied:
            return [f"Not replayed: {self._questions.manifest.uncopied}."]
        if not part:
            return []
        first = next(((began, ended) for began, ended in self._weights.copies if began < self._ended and ended > self._began), None)
        if first is None:
            known = "--weights has none" if told else "the canary answered none at weight 0, or all of them were lost"
            return [f"No copies before the first weight: {known}. Prometheus keeps no record of mirrored traffic."]
        concluded = "so long the canary answered requests at weight 0, as Prometheus keeps no record of mirrored traffic"
        source = "--weights says so" if told else concluded
        between = f"from {_time(max(first[0], self._began))} to {_time(min(first[1], self._ended))}"
        return [f"Copies of {part} % of the requests {between}: {source}; how many were copied is what the manifest says today."]

    def _about_baseline(self) -> list[str]:
        if self._analysis.baseline is not Baseline.FRESH:
            return []
        if self._baseline is Baseline.FRESH:
            return ["Compared with the fresh baseline, whose requests were counted; its share is what the rules give it at these weights."]
        return ["Compared with the primary: no request of a fresh baseline was counted in this time."]

    # ---------------------------------------------------------------------------------------------------------- the run

    async def begun(self) -> Replay:
        """The run before its first look. Raises what the first questions raise."""
        series = self._questions.arms().baseline
        if self._analysis.baseline is Baseline.FRESH and series is not None:
            totals = await _totals(self._server, series, (self._began, self._ended))
            self._baseline = Baseline.FRESH if len(set(totals.values())) > 1 else Baseline.PRIMARY
        history = await arms.history(self._server.series, self._questions.arms(), at=self._began)
        if history.error:
            raise self._server.lost or Rejected(f"the primary's past cannot be had: {history.error}")
        past = {name: await pairs.history(self._asks(name), self._spec(name), at=self._began) for name in self._questions.pairs}
        replayed = Replay(self._analysis, self._began, replace(history, pairs=past), baseline=self._baseline)
        seen = replayed.seen(0, self._copied(self._began + 1))
        replayed.anchor(await self._counters(self._began, self._began - FIRST_WINDOW, seen), seen)
        return replayed

    def _copied(self, at: float) -> int:
        return copied(self._analysis) if self._weights.copying(at) else 0

    async def events(self, replayed: Replay) -> AsyncIterator[Look | Stepped]:
        """Looks and steps, in the order of time, until the run ended or both judges have decided."""
        interval, weights = self._analysis.interval_seconds, self._weights
        look, step = self._began + replayed.spacing, self._began + interval
        while min(look, step) <= self._ended and not replayed.over:
            now = min(look, step)
            if look <= now:
                look += replayed.spacing
                seen = replayed.seen(weights.at(now), self._copied(now))
                counters = await self._counters(now, replayed.since(now, seen), seen)
                if replayed.own is None and (event := replayed.look(counters, seen)) is not None:
                    yield event
            if step <= now:
                step += interval
                if not replayed.stepping:
                    continue
                yield replayed.step(now, await self._checks(now), weights.at(now))
        self._progress.clear()

    # ----------------------------------------------------------------------------------------------------- its counters

    async def _counters(self, at: float, since: float, seen: Seen) -> Counters:
        """The requests of both versions, or what stands for them, and what templates count beside them."""
        if seen.alone:
            return Counters(at, error=seen.alone)
        found = await self._tape("", seen.stage, self._main(seen.stage), at).counters(at, since)
        if found.error:
            raise self._server.lost or Rejected(f"the counters cannot be had: {found.error}")
        counted = {}
        for name in self._questions.pairs:
            counted[name] = await self._tape(name, seen.stage, self._pair(name, seen.stage), at).counters(at, since)
        if self._server.lost is not None:
            raise self._server.lost
        return replace(found, pairs=counted)

    def _tape(self, pair: str, stage: Stage, ask: Ask, at: float) -> _Tape:
        """One for each stage, begun when it is first needed: somebody else may count there."""
        if (pair, stage) not in self._tapes:
            self._tapes[pair, stage] = _Tape(ask, known=at - FIRST_WINDOW, ended=self._ended)
        return self._tapes[pair, stage]

    def _main(self, stage: Stage) -> Ask:
        async def ask(upto: float, known: float) -> Counters:
            self._progress.show(f"asking for {upto - self._began:.0f} of {self._ended - self._began:.0f} s")
            found = await arms.counters(self._server.series, self._questions.arms(stage), at=upto, since=known)
            self._progress.clear()
            return found

        return ask

    def _pair(self, name: str, stage: Stage) -> Ask:
        return lambda upto, known: pairs.counters(self._asks(name, stage), self._spec(name), at=upto, since=known)

    def _spec(self, name: str) -> MetricTemplateSpec:
        return self._questions.pairs[name].spec

    def _asks(self, name: str, stage: Stage = Stage.USERS) -> dict[Side, arms.Ask]:
        """How each version's side of a pair is asked; the operator takes so many pairs, and refuses the others."""
        if [*self._questions.pairs].index(name) >= pairs.MOST:
            return dict.fromkeys(pairs.SIDES, _refused)
        metric = next(one for one in self._analysis.metrics if one.name == name)
        about: dict[str, Any] = {"interval": "", "variables": metric.template_variables}
        old = "baseline" if stage is Stage.BASELINE else "primary"
        return {side: partial(self._server.rendered, arm=old if side == "primary" else side, **about) for side in pairs.SIDES}

    # ------------------------------------------------------------------------------------------------------- its checks

    async def _checks(self, at: float) -> list[Check]:
        found = await asyncio.gather(*(self._check(metric, at) for metric in self._analysis.metrics))
        return [check for checks in found for check in checks]

    async def _check(self, metric: Metric, at: float) -> list[Check]:
        """The checks of one metric: its built-in query, and those that its author wrote."""
        router, found = self._questions.router, []
        unit = router.duration_unit_ms if metric.name == "request-duration" else 1.0
        if metric.builtin:
            mine = await self._sample(metric, router.builtin_queries[metric.name], at, unit)
            theirs = await self._sample(metric, self._questions.arms().checks[metric.name], at, unit)
            primary = judge(metric, MetricSource.BUILTIN, theirs)
            found.append(Check(metric, judge(metric, MetricSource.BUILTIN, mine), mine.value, primary))
        if metric.query:
            sample = await self._sample(metric, metric.query, at, 1.0)
            found.append(Check(metric, judge(metric, MetricSource.QUERY, sample), sample.value))
        if query := self._questions.query(metric):
            sample = await self._sample(metric, query, at, 1.0)
            found.append(Check(metric, judge(metric, MetricSource.TEMPLATE, sample), sample.value))
        return found

    async def _sample(self, metric: Metric, template: str, at: float, unit: float) -> Sample:
        try:
            about: dict[str, Any] = {"interval": metric.interval_effective, "variables": metric.template_variables}
            sample = picked(await self._server.rendered(template, at, **about), template)
        except Unreachable:
            raise
        except (CanaryError, TemplateError) as error:
            return Sample(error=str(error), query=template)
        return sample if sample.value is None else replace(sample, value=sample.value * unit)


async def _refused(template: str, at: float) -> list[Any]:  # noqa: ARG001
    raise Rejected(f"a canary may have {pairs.MOST} pairs of counters, and this is one more", hint="make it role: informational")


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
