"""The evidence of a run: one row per tick that measured, asked a gate or moved traffic, and totals per check.

It is collected in the status, because that is written at each of these ticks anyway: a row is stored in the same write as what it tells of, so no
crash can lose or double it. The CanaryRun gets the rows when the run ends, and before that only when the status has no room for more. Rejected:
writing the CanaryRun at every tick, which costs a request each; and rows in memory, which die with the process.

Values here are those of `canary.api.status`; sizes are bytes of JSON.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from canary.api.analysis import ThresholdRange, Webhook
from canary.api.canaryrun import CheckEvidence
from canary.api.status import CheckStatus, CheckTotals, RunRow, RunStatus, Verdict
from canary.core.model import HookResult, SaveRun
from canary.core.turn import Turn

ROOM = 2 * 1024
"""Bytes of rows that a status holds before they are moved to the CanaryRun: some 25 ticks of two checks."""
MOST = 64 * 1024
"""Bytes of rows in a CanaryRun; beyond that they are thinned. Some 800 ticks of two checks."""
MOST_CHECKS = 64
"""Checks with totals in one run: the spec may be edited as often as anybody likes."""
MOST_ANSWERS = 8
LONGEST_QUERY = 1000
LONGEST_TEXT = 500
LONGEST_ANSWER = 60
NOT_MADE = "-"


# ------------------------------------------------------------------------------------------------ in a tick


def note(t: Turn) -> RunStatus | None:
    """Write down what this tick did in its run, once. Returns the run under way with that row, None when there is none."""
    run = t.run
    if run is None or run.outcome:
        return None
    row, totals = _row(t, run)
    t.measured, t.answers = (), []
    if row is not None:
        t.update_run(checks=totals, history=thinned((*run.history, row), 2 * ROOM))
    return t.run


def make_room(t: Turn) -> None:
    """Before a step: rows that the status has no room for go to the CanaryRun. The last one stays, so that numbers go on from it."""
    run = t.run
    if run is not None and len(run.history) > 1 and size(run.history) > ROOM:
        t.do(SaveRun(run.id, run.history))
        t.update_run(history=run.history[-1:])


def answered(t: Turn, hook: Webhook, result: HookResult) -> None:
    """Remember what a hook answered, for the row of this tick."""
    words = shortened(" ".join(result.message.split()), LONGEST_ANSWER)
    text = f"{shortened(hook.name, LONGEST_ANSWER)}: {'yes' if result.ok else 'no'}"
    if len(t.answers) < MOST_ANSWERS:
        t.answers.append(f"{text} ({words})" if words else text)


def commanded(t: Turn, said: str) -> None:
    """Remember what a person said, for the row of this tick; it always has room."""
    t.answers.append(f"command: {said}")


def _row(t: Turn, run: RunStatus) -> tuple[RunRow | None, tuple[CheckTotals, ...]]:
    stored = t.snapshot.canary.status.run
    before = stored if stored is not None and stored.id == run.id else run  # a run that begins in this tick has moved nothing
    moved = (before.weight, before.mirrored) != (run.weight, run.mirrored)
    if not (t.measured or t.answers or moved or (t.checks_run and before is stored)):
        return None, run.checks
    totals, verdicts = tallied(run.checks, t.measured)
    weight = before.weight if before.weight is not None else t.routes.canary
    row = RunRow(
        seq=run.history[-1].seq + 1 if run.history else 1,
        at=round(t.now - run.started_at.timestamp(), 3) if run.started_at is not None else None,
        weight=weight,
        to=run.weight if moved else None,
        mirrored=moved and run.mirrored,
        failed=t.status.failed_checks,
        checks=verdicts,
        gates=tuple(t.answers),
    )
    return row, totals


# ------------------------------------------------------------------------------------------------ totals


def tallied(totals: Sequence[CheckTotals], checks: Iterable[CheckStatus]) -> tuple[tuple[CheckTotals, ...], tuple[str, ...]]:
    """The totals with these verdicts counted, and the verdicts as a row shows them, in the order of the totals.

    Checks are told apart by name and source; of two that agree in both, the first is the first.
    """
    grown, said = list(totals), dict[int, str]()
    places: defaultdict[tuple[str, str], deque[int]] = defaultdict(deque)
    for place, total in enumerate(totals):
        places[total.name, total.source].append(place)
    for check in checks:
        known = places[check.name, check.source]
        place = known.popleft() if known else len(grown)
        if place == MOST_CHECKS:
            continue
        if place == len(grown):
            grown.append(CheckTotals(name=check.name, source=check.source))
        grown[place] = _counted(grown[place], check)
        said[place] = verdict_text(check)
    return tuple(grown), tuple(said.get(place, NOT_MADE) for place in range(max(said, default=-1) + 1))


def verdict_text(check: CheckStatus) -> str:
    """Verdict and value in a few letters, such as `Pass 99.98`, `NoData`, `Fail 750 (dry run)`."""
    value = "" if check.value is None else f" {check.value:.6g}"
    return f"{check.verdict}{value}{' (dry run)' if check.dry_run else ''}"


def summary(run: RunStatus, checks: Sequence[CheckStatus]) -> tuple[CheckEvidence, ...]:
    """What each check said over the whole run, with what is only known of the last time (`checks`): bound, query, error.

    Of a run that an earlier version began, and that never ticked since, nothing but the last time is known.
    """
    last: defaultdict[tuple[str, str], deque[CheckStatus]] = defaultdict(deque)
    for check in checks:
        last[check.name, check.source].append(check)
    found = []
    for total in run.checks or tallied((), checks)[0]:
        same = last[total.name, total.source]
        found.append(_evidence(total, same.popleft() if same else None))
    return tuple(found)


def _counted(total: CheckTotals, check: CheckStatus) -> CheckTotals:
    name = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.NO_DATA: "no_data", Verdict.ERROR: "errors"}[check.verdict]
    changes: dict[str, float] = {name: getattr(total, name) + 1}
    if (value := check.value) is not None:
        changes |= {
            "min": value if total.min is None else min(value, total.min),
            "max": value if total.max is None else max(value, total.max),
            "last": value,
        }
    return total.model_copy(update=changes)


def _evidence(total: CheckTotals, last: CheckStatus | None) -> CheckEvidence:
    bound = last.bound if last is not None else None
    return CheckEvidence(
        name=total.name,
        bound=bound,
        samples=total.passed + total.failed,
        worst=_worst(total, bound),
        min=total.min,
        max=total.max,
        last=total.last,
        passed=total.passed,
        failed=total.failed,
        no_data=total.no_data,
        errors=total.errors,
        verdict=last.verdict if last is not None else None,
        query=last.query if last is not None else "",
        source=total.source,
        provider=last.provider if last is not None else "",
        error=last.error if last is not None else "",
    )


def _worst(total: CheckTotals, bound: ThresholdRange | None) -> float | None:
    """The value furthest on the wrong side of the bounds, or closest to it; None without bounds or values."""
    if bound is None or total.min is None or total.max is None:
        return None
    sides = [(bound.min - total.min, total.min)] if bound.min is not None else []
    sides += [(total.max - bound.max, total.max)] if bound.max is not None else []
    return max(sides, default=(0.0, None))[1]


# ------------------------------------------------------------------------------------------------ bounds


def size(rows: Iterable[RunRow]) -> int:
    """Bytes of JSON, a few more at most: counted rather than written, because it is asked at every tick."""
    return sum(map(_bytes, rows))


def merged(stored: Sequence[RunRow], added: Sequence[RunRow], *, room: int = MOST) -> tuple[RunRow, ...]:
    """Rows of a CanaryRun with more of them behind, thinned. What is there already is not added again: a crash repeats the same rows.

    The last row stays both there and in the status (`make_room`), so what is new is what comes behind it.
    """
    last = [(row.seq, row.at) for row in stored[-1:]]
    known = next((place for place, row in enumerate(added) if [(row.seq, row.at)] == last), -1)
    return thinned((*stored, *added[known + 1 :]), room)


def thinned(rows: Sequence[RunRow], room: int) -> tuple[RunRow, ...]:
    """The rows, thinned until they fit into `room` bytes.

    The first and the last always stay. Of the others every second goes, again and again, until the rest fits: first of the rows that tell nothing
    new (all checks passed, the traffic stayed, gates said what they had said); when there are none left, of those with another verdict or answer;
    at the very last of those that moved traffic.
    """
    kept = list(rows)
    while len(kept) > 2 and size(kept) > room:
        ranks = _ranks(kept)
        lowest = min(ranks[1:-1])
        there = [place for place in range(1, len(kept) - 1) if ranks[place] == lowest]
        gone = set(there[::2])
        kept = [row for place, row in enumerate(kept) if place not in gone]
    return tuple(kept)


def _ranks(rows: Sequence[RunRow]) -> list[int]:
    """How much each row tells: 0 nothing new, 1 another verdict than Pass or another answer, 2 moved traffic."""
    ranks, gates = [], tuple[str, ...]()
    for row in rows:
        quiet = row.gates == gates and all(text.startswith((Verdict.PASS, NOT_MADE)) for text in row.checks)
        ranks.append(2 if row.to is not None else 0 if quiet else 1)
        gates = row.gates
    return ranks


def _bytes(row: RunRow) -> int:
    head = 40 + 9 * (row.to is not None) + 13 * bool(row.failed) + 16 * row.mirrored + 12 * bool(row.checks) + 11 * bool(row.gates)
    return head + sum(len(text.encode()) + 3 for text in (*row.checks, *row.gates))


def shortened(text: str, longest: int) -> str:
    """The text, or its beginning with `...` behind it."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
