#!/usr/bin/env python3
"""Draws the pictures of docs/explanation/verdict-policies.md as SVG: what each policy does to the weight of the new version over time.

    python docs/images/generate.py [--check]

Plain shapes and text on a background of their own, so that a page may be light or dark; no fonts, scripts or styles from elsewhere. A drawing
library was rejected: the six pictures need five shapes. A test holds the files to this script.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

WIDTH, LEFT, RIGHT = 720, 92, 700
PAPER, INK, QUIET = "#f6f8fa", "#24292f", "#57606a"
NEW, OLD, BAD, GOOD, ASK = "#0969da", "#8250df", "#cf222e", "#1a7f37", "#9a6700"
Point = tuple[float, float]


class Picture:
    """One picture. Times are 0 to 100 from left to right; weights 0 to 100 between `floor` and `ceiling` (pixels from the top)."""

    def __init__(self, height: int, title: str, *, ceiling: int = 40, floor: int = 0) -> None:
        self.height, self.title = height, title
        self.ceiling, self.floor = ceiling, floor or height - 34
        self.shapes: list[str] = []

    def x(self, time: float) -> float:
        """Pixels from the left."""
        return LEFT + (RIGHT - LEFT) * time / 100

    def y(self, weight: float) -> float:
        """Pixels from the top."""
        return self.floor - (self.floor - self.ceiling) * weight / 100

    def axes(self, name: str, end: str = "time") -> None:
        """The two axes with their names."""
        self.path([(self.x(0), self.ceiling - 8), (self.x(0), self.floor), (self.x(100), self.floor)], QUIET, width=1)
        self.text(LEFT - 8, self.ceiling + 4, name, QUIET, anchor="end")
        self.text(RIGHT, self.floor + 18, end, QUIET, anchor="end")

    def path(self, points: Sequence[Point], color: str, *, width: float = 2.5, dashed: bool = False) -> None:
        """A line through pixels."""
        through = " ".join(f"{x:g},{y:g}" for x, y in points)
        dash = ' stroke-dasharray="6 5"' if dashed else ""
        self.shapes.append(f'<polyline points="{through}" fill="none" stroke="{color}" stroke-width="{width:g}"{dash}/>')

    def stairs(self, steps: Sequence[Point], end: float, color: str, *, dashed: bool = False) -> None:
        """A weight over time: (time, weight) of each change, until `end`."""
        points: list[Point] = []
        for time, weight in steps:
            if points:
                points.append((self.x(time), points[-1][1]))
            points.append((self.x(time), self.y(weight)))
        self.path([*points, (self.x(end), points[-1][1])], color, dashed=dashed)

    def curve(self, points: Sequence[Point], color: str, *, dashed: bool = False) -> None:
        """A value over time."""
        self.path([(self.x(time), self.y(value)) for time, value in points], color, dashed=dashed)

    def band(self, begin: float, end: float, color: str) -> None:
        """A stretch of time."""
        x, width, height = self.x(begin), self.x(end) - self.x(begin), self.floor - self.ceiling + 8
        self.shapes.append(
            f'<rect x="{x:g}" y="{self.ceiling - 8:g}" width="{width:g}" height="{height:g}" fill="{color}" fill-opacity="0.12"/>'
        )

    def mark(self, time: float, words: str, color: str, *, anchor: str = "middle") -> None:
        """A moment, named below the axis."""
        self.path([(self.x(time), self.ceiling - 8), (self.x(time), self.floor + 4)], color, width=1, dashed=True)
        self.text(self.x(time), self.floor + 18, words, color, anchor=anchor)

    def cross(self, x: float, y: float, color: str = BAD) -> None:
        """A check that failed."""
        self.path([(x - 5, y - 5), (x + 5, y + 5)], color, width=2.5)
        self.path([(x - 5, y + 5), (x + 5, y - 5)], color, width=2.5)

    def dot(self, x: float, y: float, color: str = GOOD) -> None:
        """A check that passed."""
        self.shapes.append(f'<circle cx="{x:g}" cy="{y:g}" r="4" fill="{color}"/>')

    def text(self, x: float, y: float, words: str, color: str = INK, *, anchor: str = "start") -> None:
        """Words; `anchor` is start, middle or end."""
        plain = words.replace("&", "&amp;").replace("<", "&lt;")
        self.shapes.append(f'<text x="{x:g}" y="{y:g}" fill="{color}" text-anchor="{anchor}">{plain}</text>')

    def svg(self) -> str:
        """The file's content."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}" '
            f'role="img" aria-label="{self.title}" font-family="sans-serif" font-size="13">'
        )
        paper = f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{self.height - 1}" rx="6" fill="{PAPER}" stroke="#8c959f"/>'
        return "\n".join([head, f"<title>{self.title}</title>", paper, *self.shapes, "</svg>", ""])


def on_failure() -> Picture:
    """The same verdict, rolled back and held."""
    one = Picture(196, "onFailure: at the verdict the weight falls to 0, or stays until a person decides")
    one.axes("weight")
    for time in (26, 34, 42):
        one.cross(one.x(time), 24)
    one.text(one.x(24) - 8, 28, "failed checks", QUIET, anchor="end")
    one.stairs([(0, 0), (4, 25), (12, 50), (20, 75)], 42, NEW)
    one.mark(42, "verdict", BAD)
    one.stairs([(42, 75), (42, 0)], 98, BAD, dashed=True)
    one.text(one.x(45), one.y(0) - 8, "rollback: all traffic to the primary, at once", BAD)
    one.stairs([(42, 75)], 82, ASK)
    one.text(one.x(45), one.y(75) - 8, "hold: the weight stays, one alarm", ASK)
    one.dot(one.x(82), one.y(75), ASK)
    for number, words in enumerate(("a person:", "abort@…", "retry@…", "promote@…")):
        one.text(one.x(82) + 10, one.y(75) + 4 + 16 * number, words, ASK)
    return one


def roles() -> Picture:
    """The same failures, counted, critical and informational."""
    one = Picture(158, "role: four failed looks at a check that is counted, critical, or informational")
    rows = (
        ("counted", 3, "threshold: 3 reached, verdict", BAD),
        ("critical", 1, "one value out of bounds, verdict", BAD),
        ("informational", 4, "shown, never counted: the release goes on", GOOD),
    )
    for number, (name, looks, words, color) in enumerate(rows):
        y = 40 + 42 * number
        one.text(LEFT + 8, y + 4, name, anchor="end")
        one.path([(LEFT + 24, y), (LEFT + 24 + 60 * looks, y)], QUIET, width=1)
        for look in range(looks):
            one.cross(LEFT + 48 + 60 * look, y, BAD if name != "informational" else QUIET)
        one.text(LEFT + 40 + 60 * looks, y + 4, words, color)
    return one


def veto() -> Picture:
    """Both versions over the bound, then one of them."""
    one = Picture(190, "veto: what the primary fails as well is a wait; what only the canary fails counts")
    one.axes("errors")
    one.band(20, 50, ASK)
    one.band(72, 98, BAD)
    one.path([(one.x(0), one.y(35)), (one.x(100), one.y(35))], QUIET, width=1, dashed=True)
    one.text(LEFT - 8, one.y(35) + 4, "bound", QUIET, anchor="end")
    one.curve([(0, 8), (19, 8), (22, 82), (48, 84), (51, 9), (71, 9), (74, 80), (98, 82)], NEW)
    one.curve([(0, 5), (19, 5), (22, 68), (48, 70), (51, 5), (98, 5)], OLD, dashed=True)
    one.text(one.x(35), 26, "both fail: wait", ASK, anchor="middle")
    one.text(one.x(85), 26, "only the canary: it counts", BAD, anchor="middle")
    one.text(one.x(53), one.y(60), "canary", NEW)
    one.text(one.x(53), one.y(60) + 18, "primary (dashed)", OLD)
    return one


def warm_up() -> Picture:
    """Failures of a cold start, and the same ones later."""
    one = Picture(190, "warmup: what the canary does in the first time counts neither way, and its weight stays")
    one.axes("weight")
    one.band(0, 30, ASK)
    for time in (6, 12, 18):
        one.cross(one.x(time), 60, QUIET)
    for time in (34, 44, 54, 64, 74, 84):
        one.dot(one.x(time), 60)
    one.text(one.x(15), 26, "not counted", ASK, anchor="middle")
    one.text(one.x(60), 26, "counted", GOOD, anchor="middle")
    one.stairs([(0, 8), (38, 20), (50, 36), (62, 56), (74, 56)], 98, NEW)
    one.mark(30, "warmup", ASK)
    return one


def durations() -> Picture:
    """When a promotion may come, and when a run is given up."""
    one = Picture(190, "minDuration and maxDuration: no promotion before the one, inconclusive after the other")
    one.axes("weight", end="")
    one.band(0, 38, ASK)
    one.band(38, 86, GOOD)
    one.band(86, 100, BAD)
    one.text(one.x(19), 26, "rollback at any time,", ASK, anchor="middle")
    one.text(one.x(19), 44, "promotion not yet", ASK, anchor="middle")
    one.text(one.x(62), 26, "promotion as soon as health is shown", GOOD, anchor="middle")
    one.text(one.x(93), 26, "inconclusive", BAD, anchor="middle")
    one.stairs([(0, 6), (7, 14), (14, 30), (21, 56)], 100, NEW)
    one.mark(38, "minDuration", ASK)
    one.mark(86, "maxDuration", BAD)
    return one


def on_inconclusive() -> Picture:
    """No verdict by the deadline, and the three answers."""
    one = Picture(196, "onInconclusive: at maxDuration without a verdict, hold, roll back, or promote")
    one.axes("weight")
    one.stairs([(0, 6), (10, 16), (20, 32), (30, 50)], 50, NEW)
    one.mark(50, "maxDuration", BAD)
    one.stairs([(50, 50)], 98, ASK)
    one.text(one.x(53), one.y(50) - 8, "hold: call a person, go on looking", ASK)
    one.stairs([(50, 50), (50, 0)], 98, BAD, dashed=True)
    one.text(one.x(53), one.y(0) - 8, "rollback", BAD)
    one.stairs([(50, 50), (50, 100)], 98, GOOD, dashed=True)
    one.text(one.x(53), one.y(100) + 18, "promote (not on doubt)", GOOD)
    return one


PICTURES: dict[str, Callable[[], Picture]] = {
    "on-failure": on_failure,
    "roles": roles,
    "primary-fails-too": veto,
    "warm-up": warm_up,
    "durations": durations,
    "on-inconclusive": on_inconclusive,
}


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with `--check` only compare. Answers the exit code: 0, 1 (stale), 2 (usage)."""
    if unknown := [item for item in arguments if item != "--check"]:
        sys.stderr.write(f"error: unknown argument {unknown[0]}\nusage: python docs/images/generate.py [--check]\n")
        return 2
    folder = Path(__file__).resolve().parent
    wanted = {folder / f"{name}.svg": draw().svg() for name, draw in PICTURES.items()}
    stale = [path for path, content in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != content]
    if stale and "--check" in arguments:
        sys.stderr.write(f"error: stale: {', '.join(path.name for path in stale)}\nhint: run python docs/images/generate.py\n")
        return 1
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
