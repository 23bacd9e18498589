"""The life of a run: how it starts, restarts, is canceled, ends; and post-rollout hooks after its end.

Identity comes before action: the id of a run is stored before its CanaryRun is created and before traffic moves, and its
outcome is written on the CanaryRun before the status becomes terminal. Post-rollout hooks are called after the terminal
write, from a marker in the status, so that a crash repeats them rather than loses them.
"""

from __future__ import annotations

from canary.api.analysis import WebhookType
from canary.api.sequential import Judge
from canary.api.status import Phase, RunStatus
from canary.core import baseline
from canary.core.evidence import note
from canary.core.gates import first_refusal, has_hooks
from canary.core.hashing import run_id
from canary.core.model import CloseRun, OpenRun
from canary.core.telling import Counter
from canary.core.times import precise, whole
from canary.core.turn import AT_ONCE, End, Turn
from canary.core.upkeep import park_target

SUCCEEDED, FAILED, CANCELED = "Succeeded", "Failed", "Canceled"


def new_run(t: Turn, *, sole: bool = False) -> RunStatus:
    """A run of the target as it is now. `sole`: the target carries all traffic already, so its first checks need an interval."""
    started = precise(t.now)
    identity = run_id(
        uid=t.canary.metadata.uid, revision=t.target.revision, configs=t.configs, started_at=started.isoformat(timespec="milliseconds")
    )
    return RunStatus(
        id=identity,
        started_at=started,
        last_tick_time=started if sole else None,
        strategy=t.strategy.value,
        images=dict(t.target.images),
        baseline_images=dict(t.primary.images) if t.primary is not None else {},
        weight=t.routes.canary,
        mirrored=t.routes.mirrored,
        sole=sole,
        baseline=baseline.wanted(t, sole=sole),
    )


def begin(t: Turn, *, sole: bool) -> None:
    """Status of a run that starts now: all counters at zero, the target's revision accepted."""
    t.update(
        phase=Phase.PROGRESSING,
        canary_weight=t.routes.canary if sole else 0,
        failed_checks=0,
        iterations=0,
        last_applied_spec=t.target.revision,
        tracked_configs=t.configs,
        run=new_run(t, sole=sole),
        checks=(),
        failure_reason="",
    )


def opened(t: Turn) -> End | None:
    """A running phase: the run has an identity, and its CanaryRun exists before the first step."""
    run = t.run
    if run is None or run.outcome:
        # a status that somebody else wrote: name the run first, go on from where it stands
        t.update(run=new_run(t, sole=False))
        return AT_ONCE
    # a run that begins under all of the traffic has its first interval counted from its start
    if run.last_tick_time is None or (run.sole and run.last_tick_time == run.started_at):
        t.do(OpenRun(run.id))
    return None


def restart(t: Turn) -> End:
    """A newer revision in the middle of a run: all traffic back, all counters at zero, the new one is analysed.

    Where the primary has no pod to take the traffic, the weights stay as they are.
    """
    back = t.primary_able
    sole = t.sole and not back
    if back:
        t.move(0)
    close(t, outcome=CANCELED, reason="a newer revision appeared")
    t.say(t.voice.restarted())
    begin(t, sole=sole)
    return AT_ONCE


def cancel(t: Turn) -> End:
    """The target is back at the promoted revision in the middle of a run: there is nothing to release any more (Q9)."""
    if not t.primary_ready:
        return t.interval
    t.move(0)
    park_target(t)
    close(t, outcome=CANCELED, reason="the target went back to the promoted revision")
    t.update(
        phase=Phase.INITIALIZED,
        canary_weight=0,
        failed_checks=0,
        iterations=0,
        last_applied_spec=t.target.revision,
        tracked_configs=t.configs,
        last_promoted_configs=t.configs or {},
    )
    t.say(t.voice.canceled())
    return AT_ONCE


def close(t: Turn, *, outcome: str, reason: str, closing: bool = False) -> None:
    """End the run: its CanaryRun first, then the status. `closing`: post-rollout hooks are due.

    It comes after the last move of its tick, which is the last row of the run. The rows go to the CanaryRun; the status keeps the totals.
    """
    run = t.run
    if run is None or run.outcome:
        if not closing:
            return
        # refused before it began: there is no CanaryRun, yet its post-rollout hooks are called
        t.update(run=new_run(t).model_copy(update={"baseline": None}))
    else:
        run = note(t) or run
        t.do(CloseRun(run.id, outcome, reason, run.history))
    t.update_run(outcome=outcome, finished_at=whole(t.now), closing=closing, rolling_back="", held="", sole=False, judge=None, history=())


def succeed(t: Turn) -> End:
    """The new revision is promoted: park the target, close the run, count, and tell (after the post-rollout hooks)."""
    park_target(t)
    closing = has_hooks(t, WebhookType.POST_ROLLOUT)
    close(t, outcome=SUCCEEDED, reason=_shown(t), closing=closing)
    status = t.status
    t.update(
        phase=Phase.SUCCEEDED,
        canary_weight=0,
        iterations=0,
        last_promoted_spec=status.last_applied_spec,
        last_promoted_configs=status.tracked_configs or {},
        failure_reason="",
    )
    _count(t, success=True)
    if not closing:
        _tell_success(t)
    return AT_ONCE


def _shown(t: Turn) -> str:
    """Who promoted a version that its analysis did not, or what evidence has shown of it; empty where counted checks decided."""
    if t.run is not None and t.run.decided.startswith("promote "):
        return f"Promoted: {t.run.decided}"
    judge = t.run.judge if t.run is not None else None
    return judge.reason if judge is not None and judge.verdict == "promote" and t.analysis.judge is Judge.SEQUENTIAL else ""


def fail(t: Turn, *, reason: str, weight: int) -> End:
    """The revision is not promoted. `weight`: what the canary keeps, 0 or (the primary cannot serve) 100."""
    closing = has_hooks(t, WebhookType.POST_ROLLOUT)
    close(t, outcome=FAILED, reason=reason, closing=closing)
    t.update(phase=Phase.FAILED, canary_weight=weight, failed_checks=0, iterations=0, failure_reason=reason)
    _count(t, success=False)
    return AT_ONCE


def closing(t: Turn) -> End | None:
    """Settled: call the post-rollout hooks of the run that just ended, then tell how it ended."""
    if t.run is None or not t.run.closing:
        return None
    hook, answer = first_refusal(t, WebhookType.POST_ROLLOUT, phase=t.phase)
    if hook is not None:
        t.say(t.voice.closing_hook_failed(hook, answer))
    if t.phase is Phase.SUCCEEDED:
        _tell_success(t)
    t.update_run(closing=False)
    return AT_ONCE


def _tell_success(t: Turn) -> None:
    t.say(t.voice.promoted_without_analysis() if t.canary.spec.skip_analysis else t.voice.promoted())


def _count(t: Turn, *, success: bool) -> None:
    skipped = t.canary.spec.skip_analysis
    t.counter = Counter(success=success, analysis="skipped" if skipped else "completed", strategy=t.strategy.value)
