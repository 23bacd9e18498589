"""The shape of one scripted release: what is released, what everybody answers at which tick, and what people do meanwhile.

Everything is counted in ticks since the release was seen (tick 0), because a script in seconds would be another one on a slower machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Answer = float | str
"""A metric: a number, or `NaN`, `+Inf`, `empty`, `error` (500), `timeout`. A hook: its HTTP status, or `timeout`."""
Answers = dict[str, Sequence[Answer]]
Json = dict[str, Any]

GOOD: Mapping[str, Answer] = {"request-success-rate": 100.0, "request-duration": 100.0}
"""What a metric says that no script speaks for; any other metric says 0, and a hook 200."""


@dataclass(frozen=True, kw_only=True)
class Act:
    """What somebody does between tick `after` and the next one: a new image, other fields of the spec (merge patch), pods become ready."""

    after: int
    image: str = ""
    spec: Json | None = None
    ready: bool = False
    weight: int | None = None

    def plain(self) -> Json:
        """Without what is not done."""
        given: Json = {"after": self.after, "image": self.image, "spec": self.spec, "ready": self.ready, "weight": self.weight}
        return {key: value for key, value in given.items() if value not in ("", None, False)}


@dataclass(frozen=True, kw_only=True)
class Script:
    """One scripted release. `answers` are by source (name of a metric or hook) and tick; the last one stays.

    `unready`: the pods of the second image run and are not ready. `deadline`: seconds a rollout may take. `ticks`: how many are recorded at most.
    """

    name: str
    about: str
    analysis: Json
    spec: Json = field(default_factory=dict)
    provider: str = "contour"
    answers: Answers = field(default_factory=dict)
    acts: Sequence[Act] = ()
    unready: bool = False
    deadline: int = 600
    ticks: int = 20

    def answer(self, source: str, tick: int) -> Answer | None:
        """What a source says at a tick; None when the script says nothing of it."""
        return answer_at(self.answers, source, tick)

    def plain(self) -> Json:
        """For the trace: all that a replay needs."""
        shown: Json = {"name": self.name, "about": self.about, "provider": self.provider, "analysis": self.analysis}
        optional: Json = {
            "spec": self.spec,
            "answers": {source: list(given) for source, given in self.answers.items()},
            "acts": [act.plain() for act in self.acts],
            "unready": self.unready,
        }
        return shown | {key: value for key, value in optional.items() if value}


def answer_at(answers: Answers, source: str, tick: int) -> Answer | None:
    """What the script says for a source at a tick; None when it says nothing of that source."""
    given = answers.get(source)
    return given[min(max(tick, 0), len(given) - 1)] if given else None
