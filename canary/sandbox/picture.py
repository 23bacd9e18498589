"""What the terminal view remembers of the story: enough to draw one frame, and nothing that draws.

Apart from the drawing, because a frame must be a function of this and of the size of the screen alone: it is drawn eight times a second, again
when the window changes, and in tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from canary.sandbox.account import Happening

HISTORY = 40
"""Samples kept of each check and of the traffic."""
_SCENES = ("start", "good release", "bad release", "rest")
_OF_ONE_RING = ("canary", "message")


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
    ring: str = ""
    """The ring on the screen; empty for a story about one cluster."""
    phase: str = ""
    weight: int = 0
    canary_tag: str = ""
    released: str = ""
    """The developer's commit."""
    primaries: dict[str, str] = field(default_factory=dict)
    """What runs beside, by ring; under an empty name what ran at the beginning."""
    failed_checks: int = 0
    threshold: int = 0
    checks: dict[str, CheckLine] = field(default_factory=dict)
    traffic: tuple[int, int] = (0, 0)
    rates: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """Requests a second, and whether some of them failed."""
    words: deque[Word] = field(default_factory=lambda: deque(maxlen=100))
    commits: deque[tuple[str, str, str]] = field(default_factory=lambda: deque(maxlen=20))
    """(short id, text, who: developer, rings, record or revert)."""
    standings: list[Happening] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    outcomes: list[Happening] = field(default_factory=list)
    over: bool = False

    @property
    def primary_tag(self) -> str:
        """What runs beside the newest version."""
        return self.primaries.get(self.ring) or self.primaries.get("", "before")

    def begins(self, scenes: Sequence[str], first: str) -> None:
        """The scenes of the story, and the image that runs at its beginning."""
        self.scenes = dict.fromkeys(scenes, "ahead") | {scenes[0]: "now"}
        self.primaries[""] = _tag(first)

    def scene(self, run: Happening) -> str:
        """Where a release belongs: to its own scene, or to its ring's."""
        own = f"{run['scenario']} release"
        return own if own in self.scenes else run.get("ring", own)

    def on(self, happening: Happening) -> None:
        """Something has happened. What clusters that are not on the screen say is left out."""
        handler = getattr(self, f"_on_{happening['event']}", None)
        elsewhere = happening["event"] in _OF_ONE_RING and happening.get("ring", self.ring) != self.ring
        if handler and not elsewhere:
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
        self.canary_tag, self.released = _tag(happening["image"]), happening["commit"]
        if "good release" in self.scenes:
            self._show(happening)
        self.words.append(Word(happening["at"], f"the developer pushes {_name(happening['image'])}", "story"))
        self.commits.append((happening["commit"][:7], _name(happening["image"]), "developer"))

    def _on_ring(self, happening: Happening) -> None:
        if happening["commit"] != self.released:
            return  # the operator takes an image back; its outcome tells
        self.ring, self.phase, self.weight = happening["ring"], "", 0
        self._show({"scenario": self.scenario, "ring": self.ring})
        self.words.append(Word(happening["at"], f"{self.ring} begins {happening['subject']}", "story"))
        self.commits.append((happening["commit"][:7], self.ring, "rings"))

    def _show(self, run: Happening) -> None:
        """A release is on the screen from now on."""
        self.scenes[self.scene(run)] = "now"
        self.checks, self.failed_checks = {}, 0
        self.rates.clear()
        self.traffic = (0, 0)

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
        self.scenes[self.scene(happening)] = "good" if happening["outcome"] == wanted else "wrong"
        self.outcomes.append({**happening, "tag": self.canary_tag})
        self.traffic = (happening["requests"], happening["failed_requests"])
        if happening["outcome"] == "Succeeded":
            self.primaries[happening.get("ring", "")] = self.canary_tag
        for kind, text in (("record", f"record: {happening['outcome']}"), ("revert", f"revert of {self.canary_tag}")):
            if commit := happening["git"][kind]:
                self.commits.append((commit[:7], text, kind))
        if happening["scenario"] == "bad":
            self.scenes["rest"] = "now"

    def _on_standing(self, happening: Happening) -> None:
        self.standings.append(happening)

    def _on_note(self, happening: Happening) -> None:
        self.notes.append(happening["text"])

    def _on_rest(self, happening: Happening) -> None:
        if self.scenes["rest"] != "wrong":  # of several clusters all must rest
            self.scenes["rest"] = "good" if happening["rests"] else "wrong"
        rests = "and no other run has begun" if happening["rests"] else "but something moves"
        self.words.append(
            Word(happening["at"], f"{happening.get('ring', 'the revert is applied')}: all run {_tag(happening['image'])}, {rests}", "story")
        )

    def _on_summary(self, _: Happening) -> None:
        self.over = True


def _name(image: str) -> str:
    return image.rpartition("/")[2]


def _tag(image: str) -> str:
    return image.rpartition(":")[2]
