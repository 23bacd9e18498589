"""What would help, in sentences with numbers: computed for this service and this analysis, not looked up in a list of tips."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from canary.api.analysis import Analysis
from canary.api.sequential import FRESH_TOP_WEIGHT, HIGHEST_TOP_WEIGHT, JUDGED_TOP_WEIGHT, Baseline, Judge
from canary.core.forecast.chances import Limit, Luck, Run, blind_steps, expected, limits, luck
from canary.core.forecast.counted import copied, schedule
from canary.core.forecast.service import HEALTHY, Fault, Service
from canary.core.forecast.summary import Summary
from canary.core.forecast.words import count, duration, minutes, percent
from canary.core.judge import JudgeConfig, OnInconclusive
from canary.core.judge.judge import COPIES
from canary.core.judge.latency import TAIL
from canary.core.judge.plan import Copying, Detection, Promotion, after_copies, copying, detection, promotion
from canary.core.judged_checks import config_of

_RARE: Final = 0.01
_OFTEN: Final = 0.05
_SOME: Final = 0.10
_LONGER: Final = (2, 3, 5, 10)
_LOOSER: Final = (1.25, 1.5, 2, 3, 5, 10)
_ENOUGH: Final = 4.6
"""Requests to expect, so that none come in one window of a hundred."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One sentence or two, and what they are about: `falseRollback`, `undecided`, `missed`, `slow`, `judge`."""

    about: str
    text: str


Found = Mapping[str, Mapping[str, Summary]]
"""Summaries by judge and fault."""


def with_judge(analysis: Analysis, judge: Judge) -> Analysis:
    """The same analysis under another judge; its top weight is lowered where evidence would have nothing left to compare with."""
    if judge is not Judge.SEQUENTIAL or analysis.max_weight_effective <= HIGHEST_TOP_WEIGHT:
        return analysis.model_copy(update={"judge": judge})
    top = FRESH_TOP_WEIGHT if analysis.baseline is Baseline.FRESH else JUDGED_TOP_WEIGHT
    steps = tuple(weight for weight in analysis.step_weights if weight <= HIGHEST_TOP_WEIGHT)
    return analysis.model_copy(update={"judge": judge, "max_weight": top, "step_weights": steps})


def rates_of(service: Service, fault: Fault, limit: Limit) -> float:
    """The share of requests that this check counts as bad."""
    return fault.rate(service.errors) if limit.slow_ms is None else service.latency.above(limit.slow_ms, fault.slow)


def checks_of(analysis: Analysis) -> list[Limit]:
    """The limits of an analysis; a guarded one waits where there is no data."""
    found = limits(analysis)
    return [replace(one, no_data_fails=one.no_data_fails and analysis.judge is Judge.THRESHOLD) for one in found]


def chances_of(analysis: Analysis, service: Service, fault: Fault) -> Run:
    """A run of counted checks for a version with this fault, exactly, for independent requests."""
    checks = [(limit, rates_of(service, fault, limit)) for limit in checks_of(analysis)]
    return expected(analysis, checks, traffic=service.traffic, spacing=service.spacing)


def advise(analysis: Analysis, service: Service, faults: Sequence[Fault], found: Found) -> list[Advice]:
    """Everything that is worth saying, what matters most first. The first judge of `found` is the manifest's."""
    mine = found[analysis.judge.value]
    about = _About(analysis, service, config_of(with_judge(analysis, Judge.SEQUENTIAL)))
    said: list[Advice] = []
    said += about.youth(mine["healthy"])
    if analysis.judge is not Judge.SEQUENTIAL:
        said += about.checks_by_luck()
    if analysis.judge is Judge.SEQUENTIAL:
        said += about.undecided(mine["healthy"])
    for fault in faults:
        if not fault.healthy and fault.name in mine:
            said += about.missed(fault, mine[fault.name])
    if analysis.judge is Judge.THRESHOLD:
        said += about.slow(faults, mine)
    if len(found) > 1:
        said += _compared(found, analysis.judge)
    return said


@dataclass(frozen=True, slots=True)
class _About:
    analysis: Analysis
    service: Service
    config: JudgeConfig

    @property
    def first(self) -> int:
        return schedule(self.analysis)[0]

    @property
    def middle(self) -> int:
        """The weight half-way through the schedule: what evidence has on average."""
        weights = schedule(self.analysis)
        return min(weights[len(weights) // 2], self.config.compared_weight)

    def youth(self, healthy: Summary) -> Iterator[Advice]:
        """Healthy versions that evidence takes back for being younger than the primary."""
        service, analysis = self.service, self.analysis
        if service.young is None or analysis.judge is Judge.THRESHOLD or healthy.by_evidence <= self.config.alpha:
            return
        text = (
            f"{percent(healthy.by_evidence)} of healthy versions are taken back for what all do while they are young ({service.young.name})"
        )
        if analysis.baseline is not Baseline.FRESH:
            text += ". `baseline: fresh` compares with a copy of the old version that is as young"
        yield Advice("falseRollback", f"{text}.")

    # ---------------------------------------------------------------------------------------- counted checks and luck

    def checks_by_luck(self) -> Iterator[Advice]:
        """Healthy versions whose checks fail."""
        service, found = self.service, checks_of(self.analysis)
        if short := [limit for limit in found if limit.requests(1.0, service.spacing) <= 0]:
            text = (
                f"The window of {short[0].name} ({short[0].window:g} s) holds fewer than two scrapes ({service.spacing:g} s apart): rate() "
            )
            yield Advice(
                "falseRollback", f"{text}answers nothing, so the check never has data. Use an interval of {4 * service.spacing:g}s."
            )
            return
        if blind := blind_steps(self.analysis, self._healthy(found), spacing=service.spacing):
            text = f"The first {blind} checks of every release have no data and count as failed: two scrapes take {minutes(2 * service.spacing)}, a step "
            text += f"{minutes(self.analysis.interval_seconds)}. Use an interval of {duration(2 * service.spacing)}, or `noData: hold`."
            yield Advice("falseRollback", text)
        usual = self._run(found)
        if not found or (usual.rolled_back <= _RARE and usual.failed - blind < 1):
            return
        base = [luck(self._healthy((limit,)), rate=self._at(self.first), spacing=service.spacing) for limit in found]
        worst = max(range(len(found)), key=lambda at: base[at].fails)
        opening = f"Of a healthy version {usual.failed:.1f} checks a run fail by luck, and {percent(usual.rolled_back)} of such releases are rolled back"
        if base[worst].empty > base[worst].fails / 2:
            yield self._empty(opening, found[worst], base[worst])
        else:
            yield self._near(opening, found)

    def _empty(self, opening: str, limit: Limit, seen: Luck) -> Advice:
        per_percent = limit.requests(self.service.traffic / 100, self.service.spacing)
        text = f"{opening}: at {self.first} % a check sees {seen.requests:.2g} requests, none in {percent(seen.empty)} of windows, and that counts as failed."
        weight = math.ceil(_ENOUGH / per_percent) if per_percent > 0 else 101
        if weight <= 50:
            text += f" A first step of {weight} % or an interval of the check of {minutes(self._longer(limit, weight))} would see enough;"
        else:
            text += f" Send load (about {count(math.ceil(_ENOUGH / limit.requests(self.first / 100, self.service.spacing)))} requests a second would do);"
        return Advice("falseRollback", f"{text} `noData: hold` waits instead of failing, as judge: guarded does.")

    def _longer(self, limit: Limit, weight: int) -> float:
        return limit.window * weight / self.first

    def _near(self, opening: str, found: Sequence[Limit]) -> Advice:
        near = [one for one in found if rates_of(self.service, HEALTHY, one) > one.share / 5] or list(found)
        shown = ", ".join(
            f"{percent(rates_of(self.service, HEALTHY, one))} with a bound of {percent(one.share)} ({one.name})" for one in near
        )
        options: list[str] = []
        for times in _LONGER:
            if self._run([replace(one, window=one.window * times) if one in near else one for one in found]).rolled_back <= _RARE:
                options.append(f"check intervals of {minutes(max(one.window for one in near) * times)}, with steps as long")
                break
        for factor in _LOOSER:
            looser = {one: replace(one, share=min(1.0, one.share * factor)) for one in near}
            if self._run([looser.get(one, one) for one in found]).rolled_back <= _RARE:
                options.append("bounds of " + ", ".join(f"{percent(one.share)} ({one.name})" for one in looser.values()))
                break
        options.append(f"judge: sequential, which compares with the primary and rolls back at most {percent(self.config.alpha)}")
        return Advice("falseRollback", f"{opening}: the base rate is close to the bound: {shown}. What helps: {'; or '.join(options)}.")

    def _run(self, found: Sequence[Limit]) -> Run:
        """Of a healthy version, with these limits."""
        return expected(self.analysis, self._healthy(found), traffic=self.service.traffic, spacing=self.service.spacing)

    def _healthy(self, found: Sequence[Limit]) -> list[tuple[Limit, float]]:
        return [(limit, rates_of(self.service, HEALTHY, limit)) for limit in found]

    def _at(self, weight: float) -> float:
        return self.service.traffic * weight / 100

    # --------------------------------------------------------------------------------------------- evidence and time

    def undecided(self, healthy: Summary) -> Iterator[Advice]:
        """Healthy versions about which nothing can be shown in time."""
        if healthy.undecided <= _SOME:
            return
        need = self.promotion()
        opening = f"A healthy version is undecided in {percent(healthy.undecided)} of runs after {minutes(self.config.max_duration)}"
        stage = self.copying()
        if need.requests is None or need.seconds is None:
            yield Advice("undecided", f"{opening}: no number of requests would show that it is within the margin; widen the margin.")
            return
        top = self.config.compared_weight
        first = f" after {minutes(stage.seconds)} of copies" if stage else ""
        text = f"{opening}: about {count(need.requests)} canary requests are needed, {minutes(need.seconds)} at {top} % of this traffic{first}. What helps: "
        options = [
            f"maxDuration: {duration(_deadline(1.3 * need.seconds, stage))}",
            f"about {count(self._traffic_for(need))} requests a second (send load)",
        ]
        if need.users_per_hour is not None:
            slack = need.users_per_hour / 3600 / self.service.traffic
            options.append(f"maxExcessPerHour: {need.users_per_hour}, which tolerates +{percent(min(0.5, slack))} at this traffic")
        yield Advice("undecided", f"{text}{'; or '.join(options)}.")

    def promotion(self) -> Promotion:
        """What users must show, in the time that copies leave."""
        service = self.service
        return promotion(self.users, traffic=service.traffic, error_rate=service.errors, slow_share=self._slow, phi=service.burst)

    def copying(self) -> Copying | None:
        """How long copies come first; None where there are none."""
        service, part = self.service, copied(self.analysis)
        if not part:
            return None
        more = {"traffic": service.traffic, "error_rate": service.errors, "phi": service.burst, "spacing": service.spacing}
        return copying(self.config, copied=part, slow_share=self._slow, **more)

    @property
    def users(self) -> JudgeConfig:
        """The settings for what comes after copies."""
        stage = self.copying()
        return self.config if stage is None else after_copies(self.config, stage.seconds)

    @property
    def _slow(self) -> float | None:
        """The share of slow requests at the bound where the judge shows health."""
        shares = (self.service.latency.above(bound) for bound in self.service.bounds)
        return next((share for share in shares if share <= TAIL), None)

    def _traffic_for(self, need: Promotion) -> float:
        assert need.requests is not None
        return math.ceil(need.requests / (self.users.max_duration * self.config.compared_weight / 100))

    def missed(self, fault: Fault, seen: Summary) -> Iterator[Advice]:
        """Faults that are promoted, or not decided."""
        if seen.promoted > _OFTEN:
            text = f"{fault.name} is promoted in {percent(seen.promoted)} of runs, and then causes {count(seen.afterwards)} bad responses an hour"
            yield Advice("missed", f"{text}{self._why(fault)}")
        elif seen.undecided > _SOME:
            text = f"{fault.name} is undecided in {percent(seen.undecided)} of runs: it stays at its weight until a person decides"
            yield Advice("missed", f"{text}; `onInconclusive: rollback` takes it back at the deadline, more traffic decides sooner.")

    def _why(self, fault: Fault) -> str:
        if self.analysis.judge is Judge.SEQUENTIAL and self.config.on_inconclusive is OnInconclusive.PROMOTE:
            return ": onInconclusive: promote lets through at the deadline what was not shown to be worse."
        if self.analysis.judge is Judge.SEQUENTIAL:
            return ": it lies within what the margin, or maxExcessPerHour, tolerates; lower these."
        within = [limit for limit in limits(self.analysis) if rates_of(self.service, fault, limit) > limit.share]
        sees = self.detection(fault, weight=self.middle)
        evidence = (
            ""
            if sees is None
            else f" Evidence against the primary needs about {_needs(sees)} at {self.middle} % (judge: guarded or sequential)."
        )
        if not within:
            return f": it stays within the bounds of all checks, and no traffic changes that.{evidence}"
        requests = min(limit.requests(self._at(self.first), self.service.spacing) for limit in within)
        return (
            f": a check at {self.first} % sees {requests:.2g} requests, too few to show it each time; use longer check intervals.{evidence}"
        )

    def detection(self, fault: Fault, *, weight: int) -> Detection | None:
        """What evidence needs for a fault of errors; None for others."""
        rate = fault.rate(self.service.errors)
        if rate <= self.service.errors:
            return None
        service = self.service
        return detection(self.config, rate=rate, traffic=service.traffic, error_rate=service.errors, weight=weight, spacing=service.spacing)

    def slow(self, faults: Sequence[Fault], found: Mapping[str, Summary]) -> Iterator[Advice]:
        """Gross faults that are seen at once and taken back late."""
        caught = [one for one in faults if one.name in found and not one.healthy and found[one.name].rolled_back > 1 - _OFTEN]
        if not caught:
            return
        worst = max(caught, key=lambda one: found[one.name].harmed)
        seen, sees = found[worst.name], self.detection(worst, weight=self.first)
        if not seen.harmed or seen.to_rollback is None or sees is None or seen.to_rollback < 2 * sees.seconds:
            return
        least = self.analysis.threshold_count * self.analysis.interval_seconds
        text = f"{worst.name} is taken back after {minutes(seen.to_rollback)} and harms {count(seen.harmed)} users, because {self.analysis.threshold_count} failed "
        text += f"checks take at least {minutes(least)}; half the interval halves that."
        yield Advice("slow", f"{text} Evidence needs about {_needs(sees)}: judge: guarded keeps these checks and acts on it.")


def _deadline(users: float, stage: Copying | None) -> float:
    """The `maxDuration` that leaves so many seconds for users: copies end when they have shown health, and after a part of it in any case."""
    if stage is None:
        return users
    longest = users / (1 - COPIES)
    return longest if stage.shown is None else min(longest, users + stage.shown)


def _needs(seen: Detection) -> str:
    return f"{count(seen.requests)} canary requests ({minutes(seen.seconds)}, {count(math.ceil(seen.users))} users)"


def _compared(found: Found, judge: Judge) -> Iterator[Advice]:
    """Where another judge does better, or worse, by more than luck explains."""
    mine = found[judge.value]
    for other, theirs in found.items():
        if other == judge.value:
            continue
        better: list[str] = []
        worse: list[str] = []
        for fault, seen in mine.items():
            line = _difference(fault, seen, theirs[fault])
            if line:
                (better if line[0] else worse).append(line[1])
        if better or worse:
            parts = [f"better: {'; '.join(better)}" if better else "", f"worse: {'; '.join(worse)}" if worse else ""]
            yield Advice(
                "judge", f"judge: {other} instead of {judge.value}. {'. '.join(part[0].upper() + part[1:] for part in parts if part)}."
            )


def _difference(fault: str, mine: Summary, theirs: Summary) -> tuple[bool, str] | None:
    if fault == "healthy":
        return _healthier(mine, theirs)
    (low, high), (other_low, other_high) = mine.rollback_interval, theirs.rollback_interval
    if other_low > high or other_high < low:
        return (
            theirs.rolled_back > mine.rolled_back,
            f"{fault} caught in {percent(theirs.rolled_back)} instead of {percent(mine.rolled_back)}",
        )
    if mine.rolled_back < _OFTEN or not max(mine.harmed, theirs.harmed) > 1.5 * min(mine.harmed, theirs.harmed) + 1:
        return None
    return theirs.harmed < mine.harmed, f"{fault} harms {count(theirs.harmed)} users instead of {count(mine.harmed)}"


def _healthier(mine: Summary, theirs: Summary) -> tuple[bool, str] | None:
    if abs(mine.promoted - theirs.promoted) > _OFTEN:
        return (
            theirs.promoted > mine.promoted,
            f"a healthy version is promoted in {percent(theirs.promoted)} instead of {percent(mine.promoted)}",
        )
    if (
        mine.to_promotion
        and theirs.to_promotion
        and max(mine.to_promotion, theirs.to_promotion) > 1.5 * min(mine.to_promotion, theirs.to_promotion)
    ):
        faster = theirs.to_promotion < mine.to_promotion
        return faster, f"a healthy version is promoted after {minutes(theirs.to_promotion)} instead of {minutes(mine.to_promotion)}"
    return None
