"""Verdicts in sentences that a person can check by hand: counts, rates, margin, chance, and who was affected.

Numbers are rounded for reading; the exact ones are in the evidence. No jargon: an e-value of 4 100 is told as "fewer than 1 of
4 100 releases", which is what Ville's inequality says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from canary.core.judge.config import JudgeConfig
from canary.core.judge.pairs import PREFIX
from canary.core.judge.panel import ERROR_LIMIT, ERRORS, LATENCY, SLOW_LIMIT, Reading


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sentence may speak of. `elapsed` in seconds, `weight` in percent, `traffic` in requests per second of both versions."""

    config: JudgeConfig
    elapsed: float
    weight: int
    fail: float
    blamed: str
    readings: Mapping[str, Reading]
    traffic: float | None
    copied: int = 0

    @property
    def place(self) -> str:
        """Where the counts come from."""
        return "on copies of requests" if self.copied else f"at {self.weight} %"

    @property
    def pace(self) -> float:
        """Requests per second that the canary gets, of copies or at the top weight."""
        return (self.traffic or 0) * (self.copied or self.config.compared_weight) / 100

    @property
    def guilty(self) -> Reading:
        return self.readings.get(self.blamed) or self.readings[ERRORS]


def rolled_back(facts: Facts) -> str:
    """Why a version was taken back: what was seen, how unlikely that is for a tolerable version, who was affected."""
    seen = facts.guilty
    chance = f"Data this far apart would appear in fewer than 1 of {_whole(facts.fail)} releases {_tolerable(facts, seen)}"
    limit = f"(limit 1 in {_whole(1 / facts.config.alpha)})"
    text = f"Rolled back after {_span(facts.elapsed)} {facts.place}: {_counts(facts, seen)}. {chance} {limit}."
    return f"{text}{_bursts(seen)} {_harmed(seen, copied=facts.copied > 0)}"


def promoted(facts: Facts) -> str:
    """What has been shown of a version that is promoted."""
    errors, level = facts.readings[ERRORS], 100 * (1 - facts.config.pass_alpha)
    if errors.limit is None:
        shown = f"failures are fewer than {facts.config.margin.error_ratio:g} times the {facts.config.other}'s"
    else:
        shown = f"error rate is at most {_points(errors.upper)} above {facts.config.other}"
    text = f"Promoted: {shown} ({level:g} %, valid at every look; {_counts(facts, errors)})"
    text += "".join(
        f"; bad by {name.removeprefix(PREFIX)} are at most {_points(one.upper)} more"
        for name, one in facts.readings.items()
        if name.startswith(PREFIX) and one.limit is not None
    )
    slow = facts.readings.get(LATENCY)
    if slow is None:
        return f"{text}. Latency was not compared: no buckets were seen."
    return f"{text}; requests over {_ms(slow.bound)} are at most {_slow_margin(facts, slow)}."


def suspicious(facts: Facts) -> str:
    """Why the weight is held although nothing is certain."""
    seen = facts.guilty
    odds = f"fewer than 1 of {_whole(facts.fail)} releases {_tolerable(facts, seen)}"
    return f"Holding {facts.place}: {_counts(facts, seen)}. So far this would appear in {odds}; roll-back at 1 of {_whole(1 / facts.config.alpha)}."


def primary_fails_too(facts: Facts, name: str) -> str:
    """Why neither a roll-back nor a promotion follows from a broken limit."""
    seen = facts.readings[name]
    return f"Holding: {facts.config.other} fails too ({_rate(seen.primary)} vs canary {_rate(seen.canary)}, limit {_percent(seen.limit or 0)}); not the canary's doing."


def watching(facts: Facts) -> str:
    """Progress of a run without news."""
    errors = facts.readings[ERRORS]
    text = f"{_sentence(facts.place)}: {_counts(facts, errors)}; {_bounded(errors)}"
    slowest = _slowest(facts)
    return f"{text}. {_forecast(facts, slowest)}{_bursts(slowest)}{_resolution(facts)}{_moot(facts)}"


def promise(weight: int, copied: int = 0) -> str:
    """What the canary's requests are expected by."""
    return f"copies of {copied} % of the requests promise" if copied else f"its weight ({weight} %) promises"


def copies_only(copied: int) -> str:
    """Why nobody is promoted who has answered no user yet."""
    return f"Holding: the canary has had copies of {copied} % of the requests only, and no traffic of its own."


def wrong_share(promised: str, canary: int, expected: float) -> str:
    """Why a sample-ratio mismatch holds."""
    return (
        f"Inconclusive: the canary answered {_whole(canary)} requests where {promised} about {_whole(expected)}. "
        "Telemetry or routing is wrong: check that all canary pods are scraped and that the mesh applies the weight."
    )


def doubtful_share(promised: str, canary: int, expected: float, evidence: float) -> str:
    """Why a mismatch that is not certain yet keeps a version from being promoted."""
    return (
        f"Holding: the canary answered {_whole(canary)} requests where {promised} about {_whole(expected)}. Had it its "
        f"share, that would be so in fewer than 1 of {_whole(evidence)} releases: nobody is promoted while telemetry or routing may be wrong."
    )


def unseen(promised: str, canary: int, expected: float) -> str:
    """Why health alone does not promote: what is not seen cannot be healthy."""
    seen = f"{_whole(canary)} where {promised} about {_whole(expected)}"
    counted = seen if expected else "the scrapes of both versions have not come together yet"
    return f"Holding: it is not shown yet that more than half of the canary's requests are seen ({counted}), and what is not seen may fail."


def inconclusive(facts: Facts, why: str) -> str:
    """What is missing at the deadline, and what to do."""
    opening = f"Inconclusive after {_span(facts.elapsed)}: "
    if why:
        return f"{opening}{why}"
    slowest, errors = _slowest(facts), facts.readings[ERRORS]
    text = (
        f"{opening}{_whole(errors.canary[0])} canary requests; {_forecast(facts, slowest)}{_bursts(slowest)} {_sentence(_bounded(errors))}."
    )
    return f"{text} Options: wait, send load{_offer(facts)}."


# ------------------------------------------------------------------------------------------------------------------ clauses


def _counts(facts: Facts, seen: Reading) -> str:
    slow = seen.name in (LATENCY, SLOW_LIMIT)
    what = f"took longer than {_ms(seen.bound)}" if slow else "failed"
    (n, x), (m, y), other = seen.canary, seen.primary, facts.config.other
    if seen.name.startswith(PREFIX):
        counted = seen.name.removeprefix(PREFIX)
        return f"{_whole(x)} of {_whole(n)} that {counted} counts of the canary are bad ({_rate((n, x))}), {other} {_whole(y)} of {_whole(m)} ({_rate((m, y))})"
    return f"{_whole(x)} of {_whole(n)} canary requests {what} ({_rate((n, x))}), {other} {_whole(y)} of {_whole(m)} ({_rate((m, y))})"


def _tolerable(facts: Facts, seen: Reading) -> str:
    margin = facts.config.margin
    if seen.name == ERROR_LIMIT:
        return f"that fail at most {_percent(seen.limit or 0)} of requests"
    if seen.name == SLOW_LIMIT:
        return f"with at most {_percent(seen.limit or 0)} of requests over {_ms(seen.bound)}"
    if seen.name == LATENCY:
        return f"with at most {margin.slow_ratio:g} times the {facts.config.other}'s slow share plus {_points(margin.slow_share)}"
    if margin.error_rate is None:
        return f"with at most {margin.error_ratio:g} times the {facts.config.other}'s failures"
    times = f"than {margin.error_ratio:g} times the {facts.config.other}" if margin.error_ratio else ""
    return f"no more than {_points(margin.error_rate)} worse {times}".rstrip()


def _slow_margin(facts: Facts, slow: Reading) -> str:
    return f"{facts.config.margin.slow_ratio:g} times the {facts.config.other}'s share plus {_points(slow.limit or 0)}"


def _harmed(seen: Reading, *, copied: bool) -> str:
    if copied:
        return "No user was affected: nobody gets the answers to copies."
    (n, x), (m, y) = seen.canary, seen.primary
    users = max(0, round(x - n * y / m)) if m else x
    return f"About {_whole(users)} users were affected."


def _bounded(errors: Reading) -> str:
    return "how much worse it may be is not bounded yet" if errors.upper >= 1 else f"excess so far at most {_points(errors.upper)}"


def _slowest(facts: Facts) -> Reading:
    """Of the required metrics that have not shown health yet, the one that needs the most; of all of them, where none is left."""
    required = [one for one in facts.readings.values() if one.required]
    waiting = [one for one in required if one.passed < 1 / facts.config.pass_alpha]
    return max(waiting or required, key=lambda one: math.inf if one.needed is None else one.needed)


def _forecast(facts: Facts, seen: Reading) -> str:
    target = _target(facts, seen)
    if seen.needed is None:
        return f"no number of requests would {target}."
    text = f"~{_whole(_rounded(seen.needed))} needed to {target}"
    if seen.name.startswith(PREFIX):
        return f"{text}."  # what a template counts does not come at the pace of requests
    rate = facts.pace
    left = seen.needed - seen.settled
    return f"{text}, {_span(left / rate)} more at present traffic." if rate > 0 and left > 0 else f"{text}."


def _target(facts: Facts, seen: Reading) -> str:
    if seen.name == LATENCY:
        return f"show that requests over {_ms(seen.bound)} are no more than tolerated"
    if seen.name.startswith(PREFIX) and seen.limit is not None:
        return f"exclude +{_points(seen.limit)} in {seen.name.removeprefix(PREFIX)}"
    if seen.limit is None:
        return f"show fewer than {facts.config.margin.error_ratio:g} times the {facts.config.other}'s failures"
    return f"exclude +{_points(seen.limit)}"


def _offer(facts: Facts) -> str:
    """A margin in users that would decide this service within the deadline, when none is set."""
    if facts.config.max_excess_per_hour or not facts.traffic:
        return ""
    users = 60
    slack = users / 3600 / facts.traffic
    return (
        f", or allow {users} bad responses an hour (maxExcessPerHour: {users}, +{_points(min(0.5, slack))} at this traffic)"
        if slack > 0.002
        else ""
    )


def _bursts(seen: Reading) -> str:
    return (
        ""
        if seen.phi < 1.5
        else f" Bad requests come in bursts (phi = {seen.phi:.0f}): {_whole(round(100 * seen.phi))} requests count as 100."
    )


def _resolution(facts: Facts) -> str:
    slow = facts.readings.get(SLOW_LIMIT)
    if slow is None or slow.unresolved is None:
        return ""
    low, high = slow.unresolved
    return f" Your buckets cannot resolve {_ms(slow.bound)} ({low:g}, {'infinity' if high is None else f'{high:g}'})."


def _moot(facts: Facts) -> str:
    broken = [one for one in facts.readings.values() if one.moot]
    return (
        f" The primary broke the limit of {_percent(broken[0].limit or 0)} before this run: only the comparison counts." if broken else ""
    )


# ------------------------------------------------------------------------------------------------------------------ numbers


def _whole(number: float) -> str:
    """Digits in groups of three: `141 900`."""
    return f"{math.floor(number):,}".replace(",", " ") if number < 1e15 else f"{number:.0e}"


def _rate(pair: tuple[int, int]) -> str:
    n, x = pair
    return _percent(x / n) if n else "no requests"


def _percent(share: float) -> str:
    return f"{_digits(100 * share)} %"


def _points(share: float) -> str:
    return f"{_digits(100 * share)} pp"


def _digits(number: float) -> str:
    return f"{number:.2g}" if number and number < 10 else f"{number:.1f}".removesuffix(".0")


def _ms(bound: float | None) -> str:
    return f"{bound or 0:g} ms"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _rounded(number: int) -> int:
    """Two significant digits, rounded up: a forecast is no count."""
    scale = int(f"1{'0' * (len(str(number)) - 2)}")
    return -(-number // scale) * scale


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
