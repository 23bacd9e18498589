"""The sequential judge: tick in, verdict out, as often as you like.

A pure function of the configuration, the primary's past and the ticks so far; the caller owns the clock and the cluster. It rolls
back on evidence, promotes on evidence, and otherwise says what is missing: no data is never a failure. `state()` is all it knows.

Mirrored traffic comes first where there is any: a stage without users, which ends when copies show health, or after its time. Copies may
condemn a version and cannot acquit it: evidence against stays, what bounds the excess and shows health begins anew with the first user. A
copy is not the request: its host may have another name, its answer is read by nobody. To let copies acquit was rejected, because then neither
`passAlpha` nor the harm budget would hold for a version that answers them better than users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from canary.core.judge import explain, ramp
from canary.core.judge.config import Baseline, JudgeConfig, OnInconclusive, Steps
from canary.core.judge.pace import Pace
from canary.core.judge.panel import ERROR_LIMIT, SLOW_LIMIT, Flow, Panel, Reading
from canary.core.judge.samples import EMPTY, Arm, Tick
from canary.core.judge.srm import UNSEEN, SampleRatio

Verdict = Literal["continue", "hold", "rollback", "promote", "inconclusive"]
SUSPICIOUS: Final = 5.0
"""Evidence from which the weight is not raised any more."""
_TOLERATED: Final = 0.002
_VERSION: Final = 2
COPY_COSTS: Final = 5.0
"""Milliseconds that being a copy may cost a request: the proxy makes it beside the one that a user waits for, over connections that are used less."""
COPIES: Final = 0.25
"""Part of the deadline that the stage of copies may take: the traffic of users needs the rest."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next. `weight` is the percentage to set now (0 after a roll-back); `evidence` maps each metric to its numbers.

    Each metric has `fail` and `pass` (e-values), `upper` and `lower` (bounds of the excess over the primary, as shares; for
    thresholds of the canary's own share), `phi`, `needed` (canary requests at half the top weight or more that PASS takes in all)
    and counts. `sampleRatio` is the check of traffic shares: `fail` that they are wrong, `pass` that more than half of the canary's
    requests are seen. `fail` is the evidence of all metrics together, which rolls back at 1/alpha,
    and `needed` forecasts the canary requests until all of them have shown health: as many runs take more as take less.
    """

    verdict: Verdict
    weight: int
    reason: str
    evidence: Mapping[str, Mapping[str, Any]]
    fail: float = 1.0
    needed: int | None = None


class SequentialJudge:
    """One run of one canary. `history` is the primary's past, `pairs` that of what templates count, by the name of the metric."""

    def __init__(self, config: JudgeConfig, history: Sequence[Tick] = (), pairs: Mapping[str, Sequence[Tick]] | None = None) -> None:
        past = sorted(history, key=lambda tick: tick.ts)
        self._config = config
        self._panel = Panel(config, past, pairs or {})
        self._pace = Pace(past)
        self._shares = SampleRatio(self._panel.strict)
        self._settling: float | None = None
        self._stepped: float | None = None
        self._ended: tuple[Verdict, int, str] | None = None
        self._copied = 0
        self._copying: float | None = None
        self._panel.tolerate_users(self._pace.traffic)

    @property
    def weight(self) -> int:
        """The weight to begin with, before any tick."""
        return self._next_weight(0)

    def observe(self, tick: Tick, lacking: str = "") -> Decision:
        """Take one tick and decide. Ticks at or before the last one change nothing. `lacking` says what else should have been counted."""
        pace = self._pace
        if pace.weight is not None and pace.last is not None and tick.ts <= pace.last:
            return self._decide(pace.weight, "")
        return self._decide(tick.weight, self._missing(tick, lacking) if self._ended is None else "")

    def reopen(self) -> None:
        """Let the run go on after a promotion that has not been carried out: while it waits, more is seen, and may speak against it.

        A roll-back stays final.
        """
        if self._ended is not None and self._ended[0] == "promote":
            self._ended = None

    # ---------------------------------------------------------------------------------------------------- taking a tick

    def _missing(self, tick: Tick, lacking: str) -> str:
        """Take the tick; what is missing, and rather why than that it is."""
        missing = self._take(tick)
        return lacking or missing

    def _take(self, tick: Tick) -> str:
        """Update everything; what is missing, or nothing."""
        pace = self._pace
        seconds = pace.advance(tick)
        both, before = _both(tick), self._settling
        # a tick in which neither has reported puts both off by as much
        left = self._enter(tick)
        if before is not None and (before != tick.part or (both is None and (tick.canary or tick.primary))):
            self._shares.interrupt(before)
        self._settling, pace.weight = tick.part, tick.weight
        if both is not None:
            self._count(tick, *both, seconds)
        if left:
            # after the tick: it may have copies in it
            self._panel.begin_anew()
        return _absent(tick, self._config.other) if both is None else self._silent(tick)

    def _enter(self, tick: Tick) -> bool:
        """Note what kind of requests a tick has: shares are not compared across kinds. Whether copies have come to an end."""
        before, self._copied = self._copied, tick.copied
        if bool(before) == bool(tick.copied):
            return False
        self._copying = tick.ts if tick.copied else None
        self._shares = SampleRatio(self._panel.strict)
        return before > 0

    def _count(self, tick: Tick, canary: Arm, primary: Arm, seconds: float) -> None:
        """Take a tick of which both arms are known."""
        pace, config = self._pace, self._config
        if tick.copied:
            canary, primary = _coarse(canary), _coarse(primary)
        pace.count(canary.total, primary.total, tick.part, seconds, copies=tick.copied > 0, whole=tick.whole)
        if config.baseline is Baseline.FRESH and not tick.weight:
            return  # what the primary does before a fresh baseline has requests says nothing of the baseline
        warm = pace.elapsed >= config.warmup
        self._panel.tolerate_users(pace.traffic)
        if warm:
            settled = 2 * (tick.copied or tick.weight) >= config.compared_weight
            share = min(1.0, seconds / config.max_duration)
            self._panel.observe(canary, primary, share=share, seconds=seconds, settled=settled)
            if tick.pairs is not None:
                self._panel.pairs.observe(tick.pairs, share=share, seconds=seconds, settled=settled)
            self._shares.observe(canary.total, primary.total, weight=tick.part, share=share)
            if self._shares.rejected:
                self._panel.forfeit_health()

    def _silent(self, tick: Tick) -> str:
        """Which part of what should be known is not, or nothing."""
        pace = self._pace
        if silence := pace.silence(self._config.other):
            self._shares.interrupt(tick.part)
            return silence
        if self._panel.untimed:
            return f"the {self._config.other}'s latency is known, the canary's is not: its histogram is missing"
        if uncounted := self._panel.uncounted:
            return f"the template of metric {', '.join(uncounted)} counts nothing of the canary"
        return ""

    # ------------------------------------------------------------------------------------------------------- the verdict

    def _decide(self, now: int, missing: str) -> Decision:
        readings = self._readings()
        verdict, weight, reason = self._ended or self._verdict(now, missing, readings)
        if verdict in ("rollback", "promote"):
            self._ended = (verdict, weight, reason)
        return Decision(verdict, weight, reason, self._evidence(readings), self._panel.fail, self._needed)

    def _verdict(self, now: int, missing: str, readings: Mapping[str, Reading]) -> tuple[Verdict, int, str]:
        pace, config, fail = self._pace, self._config, self._panel.fail
        stay = pace.stay(at_top=now >= config.max_weight)
        facts = explain.Facts(config, pace.elapsed, now, fail, self._panel.blamed, readings, pace.traffic, self._copied)
        if fail >= 1 / config.alpha:
            return "rollback", 0, explain.rolled_back(facts)
        doubt, withheld = self._doubt(now, missing, facts), self._withheld(facts)
        if self._copied:
            return self._on_copies(doubt or self._unlike, facts)
        ready = self._panel.healthy and now >= config.max_weight and stay >= pace.loaded and pace.elapsed >= config.min_duration
        unseen = "" if self._seen or not ready else explain.unseen(self._promise, self._shares.canary_n, self._shares.expected)
        if ready and not (doubt or withheld or unseen):
            return "promote", now, explain.promoted(facts)
        if pace.elapsed >= config.max_duration:
            return self._deadline(now, doubt or withheld, unseen, facts)
        if doubt:
            return "hold", now, doubt
        weight, waits = self._raise(now), withheld or unseen
        if waits and weight == now:
            return "hold", now, waits
        return "continue", weight, waits or explain.watching(facts)

    def _doubt(self, now: int, missing: str, facts: explain.Facts) -> str:
        """Why the weight must not rise, or nothing."""
        if missing:
            return f"Holding: no verdict without data: {missing}."
        if self._shares.rejected:
            return explain.wrong_share(self._promise, self._shares.canary_n, self._shares.expected)
        if facts.fail >= SUSPICIOUS:
            return explain.suspicious(facts)
        if now and self._pace.elapsed < self._config.warmup:
            return f"Holding: the canary warms up ({self._pace.elapsed:.0f} of {self._config.warmup:g} s)."
        return ""

    def _withheld(self, facts: explain.Facts) -> str:
        """Why nobody is promoted now, though the weight may still rise within its budget: the primary is no better, or shares look wrong."""
        breached = self._panel.breached
        if breached is not None:
            return explain.primary_fails_too(facts, ERROR_LIMIT if breached is self._panel.error_limit else SLOW_LIMIT)
        if self._pace.unheard:
            return "Holding: no request of the canary has been seen lately."
        return self._unlike

    @property
    def _promise(self) -> str:
        return explain.promise(self._pace.weight or 0, self._copied)

    @property
    def _unlike(self) -> str:
        """Why shares look wrong, if they do."""
        shares = self._shares
        return explain.doubtful_share(self._promise, shares.canary_n, shares.expected, shares.value) if shares.doubted else ""

    def _on_copies(self, doubt: str, facts: explain.Facts) -> tuple[Verdict, int, str]:
        """Stay with copies, or go on to the first weight; nobody is promoted who has answered no user."""
        pace, config = self._pace, self._config
        if pace.elapsed >= config.max_duration:
            return self._deadline(0, doubt or explain.copies_only(self._copied), "", facts)
        if doubt:
            return "hold", 0, doubt
        spent = 0.0 if pace.last is None or self._copying is None else pace.last - self._copying
        over = spent >= COPIES * config.max_duration or (self._panel.healthy and self._seen)
        stays = spent < config.interval or pace.elapsed < config.warmup or not over
        return "continue", 0 if stays else self._raise(0), explain.watching(facts)

    @property
    def _seen(self) -> bool:
        """Whether what the canary's telemetry may leave out is known to be tolerable: under half, or that half might as well fail."""
        tolerated = self._panel.errors.tolerated
        return self._shares.shown or (tolerated is not None and tolerated >= UNSEEN)

    def _deadline(self, now: int, doubt: str, unseen: str, facts: explain.Facts) -> tuple[Verdict, int, str]:
        """The author's choice; a promotion still needs data and no suspicion."""
        reason = explain.inconclusive(facts, doubt or unseen)
        match self._config.on_inconclusive:
            case OnInconclusive.ROLLBACK:
                return "rollback", 0, f"{reason} Rolled back, as onInconclusive says."
            case OnInconclusive.PROMOTE if not doubt:
                return "promote", now, f"{reason} Promoted, as onInconclusive says."
            case _:
                return "inconclusive", now, reason

    # -------------------------------------------------------------------------------------------------------- the weight

    @property
    def _decided(self) -> bool:
        """Whether the comparison may end: where the canary has all the traffic nothing can be shown any more, shares of traffic least of all."""
        return self._panel.healthy and self._seen and not self._shares.doubted

    def _raise(self, now: int) -> int:
        weight = max(now, self._next_weight(now))
        if weight > now:
            self._stepped = self._pace.last
        return weight

    def _next_weight(self, now: int) -> int:
        pace, config = self._pace, self._config
        if config.steps is Steps.FIXED:
            since = pace.began if self._stepped is None else self._stepped
            waited = 0.0 if since is None or pace.last is None else pace.last - since
            step = ramp.scheduled(config.step_weights, now=now, waited=waited, interval=config.interval)
            return step if step < 100 or self._decided else now
        errors = self._panel.errors
        assert errors.excess is not None
        return ramp.adaptive(
            budget=config.harm_budget,
            traffic=pace.traffic,
            reaction=pace.reaction,
            excess=1.0 if self._copied else errors.excess.working,
            tolerated=_TOLERATED if errors.tolerated is None else errors.tolerated,
            top=config.max_weight if self._decided else config.compared_weight,
        )

    # ------------------------------------------------------------------------------------------------------- what it says

    @property
    def _flow(self) -> Flow:
        if self._copied:
            return Flow(100 / self._copied, (self._pace.traffic or 0.0) * self._copied / 100 * self._pace.interval)
        top = self._config.compared_weight
        return Flow(self._config.against(top), (self._pace.traffic or 0.0) * top / 100 * self._pace.interval)

    @property
    def _least(self) -> int:
        """Canary requests while the top weight is held as long as a promotion takes at least."""
        return int((self._pace.traffic or 0) * self._config.compared_weight / 100 * (self._pace.loaded + self._pace.interval))

    @property
    def _needed(self) -> int | None:
        found = self._panel.needed(self._flow)
        return None if found is None else max(found, self._least)

    def _readings(self) -> dict[str, Reading]:
        return self._panel.readings(self._flow)

    def _evidence(self, readings: Mapping[str, Reading]) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {name: reading.to_dict(self._least) for name, reading in readings.items()}
        shares = self._shares
        nothing = {"pass": shares.seen, "upper": 1.0, "lower": -1.0, "phi": 1.0, "needed": None, "canaryBad": 0}
        return found | {"sampleRatio": {"fail": shares.value, **nothing, "canaryRequests": shares.canary_n, "expected": shares.expected}}

    # --------------------------------------------------------------------------------------------------------- the state

    def state(self) -> dict[str, Any]:
        """Everything it knows, as JSON (at most 4 KiB, and 0.6 KiB for each pair of counters): enough to continue bit for bit."""
        run = [self._settling, self._stepped, self._ended and list(self._ended)]
        if self._copied:
            run += [self._copied, self._copying]
        return {"v": _VERSION, "panel": self._panel.state(), "pace": self._pace.state(), "shares": self._shares.state(), "run": run}

    @classmethod
    def restore(cls, config: JudgeConfig, state: Mapping[str, Any]) -> Self:
        """Continue from `state()` under the same configuration. Raises ValueError when they do not belong together."""
        if state.get("v") != _VERSION:
            raise ValueError(f"state of version {state.get('v')!r}; this judge writes {_VERSION}: begin the run anew")
        judge = cls(config)
        try:
            judge._panel.restore(state["panel"])
            judge._pace.restore(state["pace"])
            judge._shares.restore(state["shares"])
            judge._settling, judge._stepped, ended, *copies = state["run"]
            judge._copied, judge._copying = copies or (0, None)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"state does not fit this configuration ({error}): begin the run anew") from error
        judge._ended = None if ended is None else (ended[0], int(ended[1]), str(ended[2]))
        return judge


def _coarse(arm: Arm) -> Arm:
    """The same without durations that say more of copies than of a version: below their costs no bound tells the two apart."""
    return Arm(arm.total, arm.errors, {bound: count for bound, count in arm.buckets.items() if bound >= COPY_COSTS} or arm.buckets)


def _both(tick: Tick) -> tuple[Arm, Arm] | None:
    """Both arms; one that gets no traffic need not report."""
    canary = EMPTY if tick.canary is None and tick.part <= 0 else tick.canary
    primary = EMPTY if tick.primary is None and tick.weight >= 100 else tick.primary
    return None if canary is None or primary is None else (canary, primary)


def _absent(tick: Tick, other: str) -> str:
    if tick.canary is None and tick.primary is None:
        return f"neither canary nor {other} has reported"
    return f"the {'canary' if tick.canary is None else other} has not reported"
