"""One frame of the terminal view, as a function of the picture and the size of the screen.

Everything is laid out by hand into lines that fit: rich's layout would cut a panel in the middle when the screen is small, while we would
rather leave the less important away. Only this module and `terminal` know rich.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from canary.sandbox.account import Happening
from canary.sandbox.picture import CheckLine, Picture, Word

_SIDE_BY_SIDE = 76
"""Columns from which Git has a panel beside the release."""
_FRAMED = 18
"""Lines from which panels have frames."""
_GIT_WIDTH = 28
_UNITS = {"request-success-rate": "%", "request-duration": "ms"}
_TONES = {"info": "", "wait": "dim", "warning": "yellow", "story": "bold cyan"}
_PHASES = {"Succeeded": "green", "Failed": "red"}
_VERDICTS = {"Pass": "green", "Fail": "red", "NoData": "yellow", "Error": "magenta"}
_SCENES = {"ahead": "dim", "now": "bold cyan", "good": "green", "wrong": "bold red"}
_STANDINGS = {"passed": "green", "failed": "red", "halted": "red"}
_WHO = {"developer": "cyan", "rings": "magenta", "record": "green", "revert": "red"}


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters to draw with."""

    full: str
    empty: str
    levels: str
    verdicts: dict[str, str]
    scenes: dict[str, str]
    dots: tuple[str, str]
    bounds: tuple[str, str]
    arrow: str
    frame: box.Box


UNICODE = Glyphs(
    full="█",
    empty="░",
    levels="▁▂▃▄▅▆▇█",
    verdicts={"Pass": "✔", "Fail": "✗", "NoData": "?", "Error": "!"},
    scenes={"ahead": "○", "now": "●", "good": "✔", "wrong": "✗"},
    dots=("●", "○"),
    bounds=("≥", "≤"),
    arrow=" → ",
    frame=box.ROUNDED,
)
ASCII = Glyphs(
    full="#",
    empty=".",
    levels="_.-~=+*#",
    verdicts={"Pass": "+", "Fail": "x", "NoData": "?", "Error": "!"},
    scenes={"ahead": ".", "now": ">", "good": "+", "wrong": "x"},
    dots=("x", "."),
    bounds=(">=", "<="),
    arrow=" > ",
    frame=box.ASCII,
)
"""For terminals whose encoding is not Unicode."""


def frame(picture: Picture, *, width: int, height: int, elapsed: float, glyphs: Glyphs = UNICODE) -> RenderableType:
    """The whole screen, never more than `height` lines. The less room there is, the less of Git, of the log and of frames is shown."""
    head = [_title(picture, width, elapsed)]
    if height >= 6:
        head.append(_scenes(picture, glyphs))
    room = height - len(head)
    if not picture.scenario:
        return Group(*head, *_starting(picture, glyphs)[:room])
    framed, beside = height >= _FRAMED, width >= _SIDE_BY_SIDE
    inner = width - (_GIT_WIDTH if beside and framed else 0) - (4 if framed else 0)
    release = _release(picture, max(20, inner), glyphs)[: room - (2 if framed else 0)]
    if not framed:
        return Group(*head, *release, *_words(picture.words, room - len(release)))
    title = f"{picture.scenario} release{f' in {picture.ring}' if picture.ring else ''}"
    top: RenderableType = _panel(release, title, glyphs, lines=len(release))
    if beside:
        git = _panel(_commits(picture, len(release)), "git", glyphs, lines=len(release))
        columns = Table.grid(expand=True)
        columns.add_column(width=width - _GIT_WIDTH)
        columns.add_column(width=_GIT_WIDTH)
        columns.add_row(top, git)
        top = columns
    log = room - len(release) - 4
    return Group(*head, top, *([_panel(_words(picture.words, log), "the operator's words", glyphs, lines=log)] if log > 0 else []))


def verdict(picture: Picture, *, elapsed: float, good: bool, glyphs: Glyphs = UNICODE) -> RenderableType:
    """What remains on the screen when the story is over."""
    table = Table.grid(padding=(0, 1), expand=True)
    for ratio in (None, None, 1):
        table.add_column(ratio=ratio, no_wrap=ratio is None)
    for run in picture.outcomes:
        state = picture.scenes[picture.scene(run)]
        where = f" in {run['ring']}" if "ring" in run else ""
        table.add_row(Text(f"{glyphs.scenes[state]} {run['scenario']}{where}", _SCENES[state]), Text(run["tag"], "bold"), _ended(run))
        if run["reason"]:
            table.add_row("", "", Text(f"because of {run['reason']}"))
        table.add_row("", "", Text.assemble(f"{run['requests']} requests, ", _failures(run["failed_requests"])))
        for kind, commit in run["git"].items():
            if commit:
                table.add_row("", "", Text.assemble((commit[:7], _WHO[kind]), f" {kind}", style="dim"))
    for one in picture.standings:
        phase = Text(one["phase"], _STANDINGS.get(one["phase"], ""))
        table.add_row(Text(one["ring"]), Text(one["release"]), Text.assemble(phase, f": {one['why']}"))
    for note in picture.notes:
        table.add_row("", "", Text(note, "dim"))
    text = "as it should" if good else "not as it should"
    title = Text(f"{glyphs.scenes['good' if good else 'wrong']} the story ended {text} after {_clock(elapsed)}", "bold")
    return Panel(table, title=title, title_align="left", border_style="green" if good else "red", box=glyphs.frame)


def _ended(run: Happening) -> Text:
    highest = max(run["weights"], default=0)
    if run["outcome"] == "Succeeded":
        return Text(f"promoted after it had carried {highest} % of the traffic", style="green")
    if run["outcome"] == "Failed":
        return Text(f"rolled back at {highest} % of the traffic", style="red")
    return Text(run["outcome"] or "not ended", style="yellow")


def _failures(failed: int) -> tuple[str, str]:
    return f"{failed} failed", "bold red" if failed else "green"


def _title(picture: Picture, width: int, elapsed: float) -> Text:
    left = Text.assemble((" canary demo", "bold"), "  podinfo in prod")
    parts = " · ".join(version for name, version in picture.parts.items() if name in {"proxy", "metrics"}) if width >= 80 else ""
    clock = f"{_clock(elapsed)} "
    gap = width - len(left) - len(parts) - len(clock) - 2
    return _line(left, " " * max(1, gap), (parts, "dim"), "  ", (clock, "bold"))


def _scenes(picture: Picture, glyphs: Glyphs) -> Text:
    steps: list[Text | tuple[str, str]] = [(" ", "")]
    for number, (name, state) in enumerate(picture.scenes.items()):
        steps += [(glyphs.arrow, "dim")] if number else []
        steps.append((f"{glyphs.scenes[state]} {name}", _SCENES[state]))
    return _line(*steps)


def _starting(picture: Picture, glyphs: Glyphs) -> list[Text]:
    names = {
        "api": "API server",
        "git": "Git server",
        "proxy": "network",
        "metrics": "metrics",
        "load": "load tester",
        "operator": "operator",
    }
    lines = [Text()]
    for part, name in names.items():
        done = part in picture.parts
        mark = (glyphs.verdicts["Pass"], "green") if done else (glyphs.scenes["ahead"], "dim")
        lines.append(_line("   ", mark, f" {name:<12}", (picture.parts.get(part, "..."), "" if done else "dim")))
    more = "" if len(picture.parts) < len(names) else picture.words[-1].text if picture.words else "the first version comes up"
    return [*lines, Text(), _line("   ", (more, "dim"))]


def _release(picture: Picture, width: int, glyphs: Glyphs) -> list[Text]:
    """The most important first: what does not fit is cut off at the end."""
    colour = _PHASES.get(picture.phase, "cyan")
    lines = [
        _line(("podinfo ", "bold"), (picture.canary_tag, "bold"), f" beside {picture.primary_tag}  ", (picture.phase, f"bold {colour}")),
        _bar(picture, width, glyphs, colour),
    ]
    lines += [_check(check, width, glyphs) for check in picture.checks.values()]
    total, failed = picture.traffic
    users = Text.assemble(f"{total} requests, ", _failures(failed))
    rates = [(rate, "red" if bad else "cyan") for rate, bad in picture.rates]
    users.append(" " * max(2, 34 - len(users)))
    lines.append(_line(users, _spark(rates, width - len(users) - 8, glyphs, floor=0.0), f" {rates[-1][0]:.0f} /s" if rates else ""))
    if picture.threshold:
        full, empty = glyphs.dots
        shown = full * picture.failed_checks + empty * max(0, picture.threshold - picture.failed_checks) if picture.threshold <= 10 else ""
        style = "red" if picture.failed_checks else "dim"
        lines.append(_line((f"failed checks {shown} {picture.failed_checks} of {picture.threshold}", style)))
    return lines


def _bar(picture: Picture, width: int, glyphs: Glyphs, colour: str) -> Text:
    """The canary's share of the traffic, and the primary's."""
    left, right = f"canary {picture.weight:3d} % ", f" {100 - picture.weight:3d} % primary"
    room = max(5, width - len(left) - len(right))
    filled = round(picture.weight / 100 * room)
    return _line(left, (glyphs.full * filled, colour), (glyphs.empty * (room - filled), "dim"), right)


def _check(check: CheckLine, width: int, glyphs: Glyphs) -> Text:
    value, said = check.samples[-1] if check.samples else (None, "NoData")
    unit = f" {_UNITS[check.name]}" if check.name in _UNITS else ""
    low, high = check.bound
    bound = f"{glyphs.bounds[0]} {low:g}" if low is not None else f"{glyphs.bounds[1]} {high:g}" if high is not None else ""
    text = "no data" if value is None else f"{value:.1f}{unit}"
    head = Text.assemble((glyphs.verdicts[said], _VERDICTS[said]), f" {check.name:<21}", f"{text:>9}", (f" {bound:<6}", "dim"))
    samples = [(one, _VERDICTS[verdict]) for one, verdict in check.samples]
    return _line(head, " ", _spark(samples, width - len(head) - 1, glyphs))


def _spark(samples: Iterable[tuple[float | None, str]], room: int, glyphs: Glyphs, *, floor: float | None = None) -> Text:
    """A small history, as many of the newest samples as fit. `floor`: the value at the bottom; else it is the smallest shown."""
    shown = list(samples)[-room:] if room > 0 else []
    values = [value for value, _ in shown if value is not None]
    low = min(values, default=0.0) if floor is None else floor
    span = max(values, default=0.0) - low
    top = len(glyphs.levels) - 1
    out = Text()
    for value, style in shown:
        level = 0 if value is None else round((value - low) / span * top) if span > 1e-9 else top // 2
        out.append(" " if value is None else glyphs.levels[level], style=style)
    return out


def _commits(picture: Picture, room: int) -> list[Text]:
    return [_line((commit, _WHO[who]), f" {text}") for commit, text, who in list(picture.commits)[-room:]]


def _words(words: Sequence[Word] | Iterable[Word], room: int) -> list[Text]:
    newest = list(words)[-room:] if room > 0 else []
    return [_line((f"{word.at:5.1f}  ", "dim"), (word.text, _TONES[word.tone])) for word in newest]


def _panel(content: Sequence[Text], title: str, glyphs: Glyphs, *, lines: int) -> Panel:
    """A frame around exactly this many lines."""
    body = Group(*content) if content else Text()
    return Panel(body, title=title, title_align="left", height=lines + 2, box=glyphs.frame, border_style="dim")


def _line(*parts: str | Text | tuple[str, str]) -> Text:
    """One line that is cut, never wrapped."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
