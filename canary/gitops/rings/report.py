"""A decision as data, for people's tables and for programs."""

from __future__ import annotations

import math
from typing import Any

from canary.gitops.rings.session import Seen
from canary.gitops.rings.standing import Standing, moment


def data(seen: Seen) -> dict[str, Any]:
    """One plan: where each release stands in each ring, what each ring has and should have, what was or would be written."""
    spec, view, decision = seen.plan.spec, seen.view, seen.decision
    known = {one.release: one for one in view.candidates}
    return {
        "plan": seen.plan.metadata.name,
        "canary": f"{spec.canary.namespace}/{spec.canary.name}",
        "mode": spec.mode.value,
        "source": {"branch": spec.source.branch, "commit": view.source},
        "at": _time(seen.at),
        "releases": [
            {
                "release": row[0].release,
                "commit": known[row[0].release].commit,
                "committedAt": _time(known[row[0].release].at),
                "images": sorted(known[row[0].release].images),
                "halted": decision.halted.get(row[0].release),
                "haltedIn": list(decision.where.get(row[0].release, ())),
                "rings": [_standing(one) for one in row],
            }
            for row in decision.standings
        ],
        "rings": [
            {
                "ring": ring.name,
                "clusters": len(view.members.get(ring.name, ())),
                "has": view.heads[ring.name].release or None if ring.name in view.heads else None,
                "takes": decision.targets.get(ring.name),
            }
            for ring in spec.rings
        ],
        "moves": [{"ring": move.ring, "release": move.release, "commit": move.commit, "back": move.back} for move in decision.moves],
        "written": [
            {"what": one.what, "commit": one.commit or None, "failure": str(one.failure.text) if one.failure else None} for one in seen.done
        ],
        "problems": list(view.problems),
        "wakeAt": _time(decision.wake_at),
    }


def _standing(one: Standing) -> dict[str, Any]:
    return {
        "ring": one.ring,
        "phase": one.phase.value,
        "why": one.why,
        "clusters": one.members,
        "succeeded": one.succeeded,
        "failed": one.failed,
        "missing": one.missing,
        "openedAt": _time(one.since),
        "opens": one.opens,
        "passedAt": _time(one.passed_at),
    }


def _time(at: float) -> str | None:
    return moment(at).replace(" ", "T") if math.isfinite(at) else None
