"""Evidence in a run: look at the counters of both versions, let the judge decide, remember what it knows.

A look comes more often than a step: once a scrape, as far as the spacing of scrapes is known, and never less than once an interval. All that
it needs is in the status (`run.judge`): the judge's state, and a mark per proxy up to where requests were counted. So a tick that was
decided and not stored is decided again on the same requests, with those that came since; nothing is counted twice.

`guarded`: counted checks and the schedule decide as ever, and evidence may roll back before they do. `sequential`: evidence decides on
weight, promotion and rollback; other checks and hooks can still stop a release, gates still hold it. Silence of the source is neither.

While traffic is mirrored both judge copies: they may end a run before any user has met the new version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from canary.api.analysis import OnFailure
from canary.api.sequential import Baseline, Judge, Steps
from canary.api.status import JudgeStatus
from canary.core import judged_checks
from canary.core.counted import Counters, Fresh, Marks, Past, Stage, fresh
from canary.core.evidence import shortened
from canary.core.judge import Deltas, JudgeConfig, SequentialJudge, Tick
from canary.core.paired import paired
from canary.core.rollback import begin_rollback, condemn, signaled
from canary.core.times import precise, remaining
from canary.core.turn import End, Turn
from canary.core.weights import beside

USUAL_SPACING = 15.0
"""Seconds between two looks while the spacing of scrapes is unknown, and at most."""
SHORTEST_SPACING, LONGEST_SPACING = 1.0, 120.0
PATIENCE = 5.0
"""Seconds without news that are no silence, whatever the spacing."""
UNKNOWN_PATIENCE = 90.0
"""The same while the spacing is unknown."""
LONGEST_REASON = 800
"""Characters: events have room for a thousand."""

ROLLED_BACK = "Rolled back "
"""How the judge's sentence about a rollback begins."""

ON, HOLD, ROLLBACK, PROMOTE, INCONCLUSIVE = "continue", "hold", "rollback", "promote", "inconclusive"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the evidence asks for: a promotion, or a share of the traffic (percent)."""

    promote: bool = False
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """Under which weights the news came (percent), and of which requests they are."""

    stage: Stage
    weight: int
    baseline: int = 0


def deciding(t: Turn) -> bool:
    """Whether weight and promotion follow the evidence."""
    return t.analysis.judge is Judge.SEQUENTIAL and t.judging


# ------------------------------------------------------------------------------------------------ the rules


def look(t: Turn) -> End | None:
    """Take what was counted since the last look. Ends the tick when the evidence suffices for a rollback, or before it can begin."""
    if not t.judging or t.run is None:
        return None
    before = t.run.judge or JudgeStatus()
    if before.verdict == ROLLBACK:  # a status of an earlier version, which stored no `run.held`
        return _condemn(t, before)
    t.looking = True
    convinced = _look(t, before) if _left(t) <= 0 else False
    after = t.run.judge or JudgeStatus()
    if after.verdict == ROLLBACK:
        if convinced:
            return _condemn(t, after)
        t.say(t.voice.evidence_against(after.reason))
        return begin_rollback(t, reason=after.reason)  # the deadline, with `onInconclusive: rollback`: that is no verdict on the version
    if deciding(t) and not after.state and t.routes.canary == 0:
        return signaled(t) or End(_left(t))
    return None


def awake(t: Turn, end: End) -> End:
    """The end of the tick, with the next look no later than it is due."""
    if not t.looking or end.wake_after is None or not t.judging or not t.analysed:
        return end
    return End(min(end.wake_after, _left(t)))


def wish(t: Turn) -> Wish:
    """What the last look asked for."""
    judge = t.run.judge if t.run is not None else None
    if judge is None or judge.verdict not in (ON, PROMOTE) or (t.routes.mirrored and Marks.parse(judge.marks).stage is not Stage.COPIES):
        return Wish()  # a weight from before the first copy would end them before anything is seen
    return Wish(judge.verdict == PROMOTE, min(judge.weight, t.analysis.max_weight_effective))


def adaptive(t: Turn) -> bool:
    """Whether the weight follows the evidence rather than the schedule."""
    return t.analysis.sequential.steps is Steps.ADAPTIVE


def refuse(t: Turn, *, refused: bool) -> None:
    """Remember whether checks, hooks or gates stood against the last step, so that the weight stays until the next one."""
    if t.run is not None and t.run.judge is not None and t.run.judge.refused is not refused:
        t.update_run(judge=t.run.judge.model_copy(update={"refused": refused}))


def _left(t: Turn) -> float:
    """Seconds until the next look is due."""
    judge = t.run.judge if t.run is not None else None
    if judge is None or (judge.looked_at is not None and judge.looked_at.timestamp() > t.now + SHORTEST_SPACING):
        return 0.0  # a look in the future says that the clock was set back, or is another one
    return remaining(judge.looked_at, interval=min(judge.spacing or USUAL_SPACING, USUAL_SPACING, t.analysis.interval_seconds), now=t.now)


# ------------------------------------------------------------------------------------------------ one look


def _look(t: Turn, before: JudgeStatus) -> bool:
    """Look, and store what was seen. Whether the evidence suffices against the canary."""
    config = judged_checks.config_of(t.analysis, baseline=Baseline.FRESH if t.fresh else Baseline.PRIMARY)
    judge = _restored(config, before.state)
    convinced = False
    if judge is None:
        if before.state:
            t.say(t.voice.evidence_restarts())
        after = _begun(t, before, config)
    else:
        after, convinced = _continued(t, before, config, judge)
    t.update_run(judge=after.model_copy(update={"looked_at": precise(t.now)}))
    _tell(t, before, after)
    return convinced


def _restored(config: JudgeConfig, state: str) -> SequentialJudge | None:
    """The judge as it was stored; None when there is none, or when it does not fit any more (an edited spec, another version)."""
    if not state:
        return None
    try:
        return SequentialJudge.restore(config, json.loads(state))
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _begun(t: Turn, before: JudgeStatus, config: JudgeConfig) -> JudgeStatus:
    """The first look: the primary's past, and where the counters stand. Without either there is no judge yet."""
    seen = _seen(t)
    if seen.stage is Stage.ALONE:
        return before.model_copy(update={"verdict": HOLD, "reason": f"Holding: no verdict without data: {_alone(seen)}.", "state": ""})
    counters, past = t.counted(0.0, stage=seen.stage, past=True)
    assert past is not None
    news = _news(counters, Marks(stage=seen.stage))
    if isinstance(news, str) or past.error:
        error = news if isinstance(news, str) else past.error
        return before.model_copy(
            update={"verdict": HOLD, "reason": shortened(f"Holding: no verdict without data: {error}", LONGEST_REASON), "state": ""}
        )
    judge, pairs = SequentialJudge(config, past.ticks, past.pairs), paired(counters, Marks(), news.marks)
    return JudgeStatus(
        verdict=ON,
        weight=judge.weight,
        reason=_noted("Watching: the counters of both versions are known, and nothing has happened yet.", counters.note or pairs.lacking),
        counted_at=precise(t.now),
        spacing=_spacing(past),
        refused=before.refused,
        marks=pairs.marks.text(),
        state=_dumped(judge.state()),
    )


def _continued(t: Turn, before: JudgeStatus, config: JudgeConfig, judge: SequentialJudge) -> tuple[JudgeStatus, bool]:
    """Feed the judge what is new; what it then says, and whether it has enough against the canary.

    Without news it is left alone for a while: proxies are not scraped at our pace.
    """
    seen = _seen(t)
    known = Marks.parse(before.marks)
    marks = known.of_stage(seen.stage)
    if marks is not known:
        before = before.model_copy(update={"weight": seen.weight})
    alone = _alone(seen) if seen.stage is Stage.ALONE else ""
    counters = Counters(t.now, error=alone) if alone else t.counted(marks.since, stage=seen.stage, past=False)[0]
    news = _news(counters, marks)
    note = "" if alone else news if isinstance(news, str) else counters.note
    counted = before.counted_at.timestamp() if before.counted_at is not None else 0.0
    deltas = news.deltas if isinstance(news, Fresh) and news.newest is not None else None
    if deltas is None and not alone and t.now - counted < _patience(before):
        return before.model_copy(update={"marks": _noticed(marks, news).text()}), False
    # a clock that was set back must not make the judge deaf: its time goes on, from look to look
    now = t.now if t.now > counted else counted + (before.spacing or SHORTEST_SPACING)
    tick, lacking = _tick(t, seen, deltas or Deltas(None, None), now), alone
    kept = news.marks if isinstance(news, Fresh) else marks
    if deltas is not None:
        pairs = paired(counters, marks, kept)
        tick, lacking, kept = replace(tick, pairs=pairs.arms), pairs.lacking, pairs.marks
    decision = judge.observe(tick, lacking)
    judge.reopen()  # a promotion may wait for a gate for long, and is no verdict on what happens meanwhile
    judged_checks.show(t, config, decision)
    after = before.model_copy(
        update={
            "verdict": decision.verdict,
            "weight": decision.weight,
            "reason": _noted(decision.reason, note),
            "counted_at": precise(now),
            "marks": kept.text(),
            "state": _dumped(judge.state()),
        }
    )
    return after, decision.fail >= 1 / config.alpha


def _news(counters: Counters, marks: Marks) -> Fresh | str:
    """What is new, or why that cannot be said."""
    if counters.error:
        return counters.error
    try:
        return fresh(counters, marks)
    except ValueError as error:
        return str(error)


def _seen(t: Turn) -> Seen:
    """What the news are of. Weights are those that were stored, since routes may have been moved meanwhile.

    A fresh baseline takes the primary's place with its first requests. One that has lost its pods answers nobody, or with errors, before that is
    stored: what came since the last look is left out.
    """
    stored = t.snapshot.canary.status.run
    if stored is None or stored.weight is None:
        return Seen(Stage.COPIES if t.routes.mirrored else Stage.USERS, t.routes.canary)
    if stored.mirrored or not t.fresh or not stored.weight:
        return Seen(Stage.COPIES if stored.mirrored else Stage.USERS, stored.weight)
    if not t.baseline_had or not t.baseline_answers:
        return Seen(Stage.ALONE, stored.weight)
    # what was stored of both may be of two ticks, when weights were moved by others; its share of these requests was that of this weight
    return Seen(Stage.BASELINE, stored.weight, beside(stored.weight))


def _tick(t: Turn, seen: Seen, deltas: Deltas, now: float) -> Tick:
    """What the judge is shown of a look."""
    copied = t.snapshot.copied if seen.stage is Stage.COPIES and not seen.weight else 0
    return replace(deltas.tick(now, seen.weight), copied=copied, baseline=seen.baseline)


def _alone(seen: Seen) -> str:
    """Why there is nothing to compare with."""
    return "the fresh baseline has no pod that answers" if beside(seen.weight) else "no share of the traffic is left for the fresh baseline"


def _noticed(marks: Marks, news: Fresh | str) -> Marks:
    """The marks with those of targets that were seen for the first time: what they count from now on is new."""
    return marks if isinstance(news, str) else replace(marks, by_target=news.marks.by_target)


def _noted(reason: str, note: str) -> str:
    """A reason with what the counters do not tell."""
    return shortened(f"{reason} ({note})" if note else reason, LONGEST_REASON)


def _spacing(past: Past) -> float | None:
    gaps = [later.ts - earlier.ts for earlier, later in zip(past.ticks, past.ticks[1:], strict=False)]
    return round(min(LONGEST_SPACING, max(SHORTEST_SPACING, median(gaps))), 3) if gaps else None


def _patience(judge: JudgeStatus) -> float:
    """Seconds without a scrape after which there is no data, rather than none yet."""
    return max(PATIENCE, 3 * judge.spacing) if judge.spacing else UNKNOWN_PATIENCE


def _dumped(state: Mapping[str, Any]) -> str:
    return json.dumps(state, separators=(",", ":"))


# ------------------------------------------------------------------------------------------------ what follows


def _condemn(t: Turn, judge: JudgeStatus) -> End:
    """A verdict against the canary. Where it is held, its sentence does not say that anything was rolled back."""
    reason = judge.reason
    if t.analysis.on_failure is OnFailure.HOLD and reason.startswith(ROLLED_BACK):
        reason = f"Evidence against it {reason.removeprefix(ROLLED_BACK)}"
        t.update_run(judge=judge.model_copy(update={"reason": reason}))
    return condemn(t, reason=reason, notice=t.voice.evidence_against(reason))


def _tell(t: Turn, before: JudgeStatus, after: JudgeStatus) -> None:
    """Say what changes; reasons with their ever-changing counts are on the object."""
    if not deciding(t) or after.verdict == before.verdict:
        return
    if after.verdict == HOLD:
        t.say(t.voice.evidence_holds(after.reason))
    elif after.verdict == INCONCLUSIVE:
        t.say(t.voice.inconclusive(after.reason))
    elif after.verdict == PROMOTE or before.verdict in (HOLD, INCONCLUSIVE):
        t.say(t.voice.evidence_allows(after.reason))
