"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percent(share: float) -> str:
    """`0.25 %`, `12 %`: two digits below ten percent, none behind the point above."""
    value = 100 * share
    if value >= 99.95 or value == 0:
        return f"{value:.0f} %"
    return f"{value:.2g} %" if value < 10 else f"{value:.0f} %" if value < 99 else f"{value:.1f} %"


def minutes(seconds: float) -> str:
    """`45 s`, `6.5 min`, `2.6 h`, `3.1 days`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    for unit, name, least in ((86400.0, "days", 172800.0), (3600.0, "h", 5400.0), (60.0, "min", 0.0)):
        if seconds >= least:
            return f"{seconds / unit:.1f}".removesuffix(".0") + f" {name}"
    raise AssertionError


def duration(seconds: float) -> str:
    """A Go duration, rounded up to minutes, or to hours from ten on."""
    return f"{math.ceil(seconds / 3600)}h" if seconds >= 36000 else f"{math.ceil(seconds / 60)}m"


def count(number: float) -> str:
    """Digits in groups of three; one behind the point below ten, two digits below a tenth."""
    if 0 < number < 0.1:
        return f"{number:.2g}"
    return f"{number:.1f}".removesuffix(".0") if number < 10 else f"{round(number):,}".replace(",", " ")


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines: the first column to the left, the others to the right, two spaces between them."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def spark(values: Sequence[float | None], *, top: float | None = None) -> str:
    """Eight heights of a block per value, from 0 to the largest (or `top`); a blank for None."""
    highest = max((value for value in values if value is not None), default=0.0) if top is None else top
    marks = []
    for value in values:
        if value is None:
            marks.append(" ")
            continue
        level = 0 if highest <= 0 else min(7, max(0, int(8 * value / highest)))
        marks.append("▁▂▃▄▅▆▇█"[level])
    return "".join(marks)


def squeezed(values: Sequence[float | None], width: int) -> list[float | None]:
    """At most `width` values, each the largest of its stretch."""
    if len(values) <= width:
        return list(values)
    parts = [values[at * len(values) // width : (at + 1) * len(values) // width] for at in range(width)]
    return [max((value for value in part if value is not None), default=None) for part in parts]
