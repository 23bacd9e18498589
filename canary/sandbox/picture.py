"""What the terminal view remembers of the story: enough to draw one frame, and nothing that draws.

Apart from the drawing, because a frame must be a function of this and of the size of the screen alone: it is drawn eight times a second, again
when the window changes, and in tests.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from canary.sandbox.account import Happening

HISTORY = 40
"""Samples kept of each check and of the traffic."""
_SCENES = ("start", "good release", "bad release", "rest")


@dataclass(slots=True)
class CheckLine:
    """One check: its bound, and the last values with their verdicts."""

    name: str
    bound: tuple[float | None, float | None] = (None, None)
    samples: deque[tuple[float | None, str]] = field(default_factory=lambda: deque(maxlen=HISTORY))


@dataclass(frozen=True, slots=True)
class Word:
    """One line of the log. `tone` is info, warning, wait (a warning that every rollout brings) or story."""

    at: float
    text: str
    tone: str


@dataclass(slots=True)
class Picture:
    """Everything that is on the screen but the clock."""

    parts: dict[str, str] = field(default_factory=dict)
    scenes: dict[str, str] = field(default_factory=lambda: dict.fromkeys(_SCENES, "ahead") | {"start": "now"})
    """Scene to `ahead`, `now`, `good` or `wrong`."""
    scenario: str = ""
    phase: str = ""
    weight: int = 0
    canary_tag: str = ""
    primary_tag: str = ""
    failed_checks: int = 0
    threshold: int = 0
    checks: dict[str, CheckLine] = field(default_factory=dict)
    traffic: tuple[int, int] = (0, 0)
    rates: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """Requests a second, and whether some of them failed."""
    words: deque[Word] = field(default_factory=lambda: deque(maxlen=100))
    commits: deque[tuple[str, str, str]] = field(default_factory=lambda: deque(maxlen=20))
    """(short id, text, who: developer, record or revert)."""
    outcomes: list[Happening] = field(default_factory=list)
    over: bool = False

    def on(self, happening: Happening) -> None:
        """Something has happened."""
        handler = getattr(self, f"_on_{happening['event']}", None)
        if handler:
            handler(happening)

    def measure(self, traffic: tuple[int, int], seconds: float) -> None:
        """Requests and failures of this release by now, `seconds` after the last time."""
        more, failed = traffic[0] - self.traffic[0], traffic[1] - self.traffic[1]
        if more >= 0 and seconds > 0:
            self.rates.append((more / seconds, failed > 0))
        self.traffic = traffic

    def _on_part(self, happening: Happening) -> None:
        self.parts[happening["name"]] = happening["version"]

    def _on_git(self, happening: Happening) -> None:
        self.commits.append((happening["commit"][:7], happening["text"], "developer"))

    def _on_message(self, happening: Happening) -> None:
        text = happening["text"]
        waits = "not ready: waiting for rollout" in text
        tone = "wait" if waits else "warning" if happening["type"] == "Warning" else "info"
        self.words.append(Word(happening["at"], text, tone))

    def _on_release(self, happening: Happening) -> None:
        self.scenes["start"] = "good"
        self.scenario = happening["scenario"]
        self.scenes[f"{self.scenario} release"] = "now"
        self.canary_tag, self.primary_tag = _tag(happening["image"]), self.primary_tag or "before"
        self.checks, self.failed_checks = {}, 0
        self.rates.clear()
        self.traffic = (0, 0)
        self.words.append(Word(happening["at"], f"the developer pushes {_name(happening['image'])}", "story"))
        self.commits.append((happening["commit"][:7], _name(happening["image"]), "developer"))

    def _on_canary(self, happening: Happening) -> None:
        self.phase, self.weight = happening["phase"], happening["weight"]
        self.failed_checks = max(self.failed_checks, happening["failed_checks"])  # set back to 0 with the verdict
        if self.phase == "Progressing" and self.weight and self.scenario:
            for check in happening["checks"]:
                self._sample(check)

    def _sample(self, check: dict[str, Any]) -> None:
        line = self.checks.setdefault(check["name"], CheckLine(check["name"]))
        line.bound = (check["min"], check["max"])
        line.samples.append((check["value"], check["verdict"]))

    def _on_outcome(self, happening: Happening) -> None:
        wanted = {"good": "Succeeded", "bad": "Failed"}[happening["scenario"]]
        self.scenes[f"{happening['scenario']} release"] = "good" if happening["outcome"] == wanted else "wrong"
        self.outcomes.append({**happening, "tag": self.canary_tag})
        self.traffic = (happening["requests"], happening["failed_requests"])
        if happening["outcome"] == "Succeeded":
            self.primary_tag = self.canary_tag
        for kind, text in (("record", f"record: {happening['outcome']}"), ("revert", f"revert of {self.canary_tag}")):
            if commit := happening["git"][kind]:
                self.commits.append((commit[:7], text, kind))
        if happening["scenario"] == "bad":
            self.scenes["rest"] = "now"

    def _on_rest(self, happening: Happening) -> None:
        self.scenes["rest"] = "good" if happening["rests"] else "wrong"
        rests = "and no other run has begun" if happening["rests"] else "but something moves"
        self.words.append(Word(happening["at"], f"the revert is applied: all run {_tag(happening['image'])}, {rests}", "story"))

    def _on_summary(self, _: Happening) -> None:
        self.over = True


def _name(image: str) -> str:
    return image.rpartition("/")[2]


def _tag(image: str) -> str:
    return image.rpartition(":")[2]
