"""Files of the state branch: why a ring has passed, and why a release was halted.

Whoever writes one writes the same bytes, so that losing a race means finding one's own text there. The rules believe none of the first kind:
they count records anew, because any cluster may write here. A halt is believed: the worst that a forged one does is to stop a release.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from canary.api.rolloutplan import Ring, RolloutPlan
from canary.gitops.failures import plain
from canary.gitops.rings.standing import Standing
from canary.gitops.rings.view import Candidate, View

MAX_WHY = 300


def folder(plan: RolloutPlan) -> str:
    """Where the files of a plan are."""
    return f"{plan.metadata.name}"


def halt_path(plan: RolloutPlan, release: str, resumed: float = -math.inf) -> str:
    """A release that was resumed and fails again is halted in a new file: the old one stays as it was."""
    again = f"-{int(resumed)}" if math.isfinite(resumed) else ""
    return f"{folder(plan)}/{release}/halt{again}.json"


def fold_path(plan: RolloutPlan, release: str, ring: str) -> str:
    """A ring's evidence for a release."""
    return f"{folder(plan)}/{release}/ring-{ring}.json"


def plan_id(plan: RolloutPlan) -> str:
    """Identifies the rules; equal for equal plans, however they are written."""
    return hashlib.sha256(json.dumps(plan.spec.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def halt(plan: RolloutPlan, view: View, one: Candidate, why: str, *, resumed: float) -> bytes:
    """Why a release was halted: which clusters failed."""
    failed = {
        ring.name: sorted(name for at, name in view.tally(ring.name, one.release).bad if at > resumed)[:20] for ring in plan.spec.rings
    }
    found = {name: names for name, names in failed.items() if names}
    return _text({"schema": 1, "plan": plan_id(plan), "release": one.release, "commit": one.commit, "why": why, "failed": found})


def fold(plan: RolloutPlan, view: View, ring: Ring, one: Standing) -> bytes:
    """Why a ring has passed, as of the moment at which it did: later laggards change nothing."""
    tally = view.tally(ring.name, one.release)
    good = tally.good_until(one.passed_at)
    votes = hashlib.sha256(repr((tally.good[:good], tally.bad)).encode()).hexdigest()
    data = {
        "schema": 1,
        "plan": plan_id(plan),
        "release": one.release,
        "ring": ring.name,
        "members": one.members,
        "succeeded": good,
        "failed": [name for _, name in tally.bad][:20],
        "lastSuccess": int(tally.good[good - 1][0]) if good else None,
        "votes": votes,
    }
    return _text(data)


def why_halted(content: bytes) -> str:
    """The sentence of a halt; of one that cannot be read, that it is there."""
    why = _data(content).get("why")
    return plain(why)[:MAX_WHY] if isinstance(why, str) and why else "it was halted"


def halted_rings(plan: RolloutPlan, content: bytes) -> tuple[str, ...]:
    """Rings of the plan in which clusters had failed when a halt was written; empty when it does not say."""
    failed = _data(content).get("failed")
    return tuple(ring.name for ring in plan.spec.rings if isinstance(failed, dict) and failed.get(ring.name))


def plan_of(content: bytes) -> str:
    """Under which plan a fold was written; empty when it is none."""
    found = _data(content).get("plan")
    return found if isinstance(found, str) else ""


def _data(content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _text(data: dict[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"
