"""Tables and ratios as text. Pure."""

from collections.abc import Mapping, Sequence

NOTHING = "-"
"""What was not measured, or does not exist for this contestant."""


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, whole numbers in full; `-` for None."""
    if value is None:
        return NOTHING
    if value == int(value) or abs(value) >= 1000:
        text = f"{value:,.0f}"
    elif abs(value) >= 100:
        text = f"{value:.0f}"
    else:
        text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{text} {unit}".rstrip()


def ratio(ours: float | None, theirs: float | None) -> str:
    """How many times the peer's figure ours is; `-` when either is missing or theirs is zero and ours is not."""
    if ours is None or theirs is None:
        return NOTHING
    if theirs == 0:
        return "1x" if ours == 0 else NOTHING
    value = ours / theirs
    return f"{value:.1f}x" if value >= 10 else f"{value:.2f}x"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([line(head), line(rule), *(line(row) for row in rows)])


def pivot(columns: Mapping[str, Mapping[str, float]], *, title: str) -> str:
    """A table of counts: one column per name, one row per key, the greatest sums first, and a line with the totals."""
    keys = {key for counts in columns.values() for key in counts}
    ordered = sorted(keys, key=lambda key: (-sum(counts.get(key, 0) for counts in columns.values()), key))
    rows = [[key, *(number(counts[key]) if counts.get(key) else NOTHING for counts in columns.values())] for key in ordered]
    return table([title, *columns], [*rows, ["all", *(number(sum(counts.values())) for counts in columns.values())]])
