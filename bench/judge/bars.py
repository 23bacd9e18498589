"""The bars that a judge must clear, as checks of cells. A bar fails loudly; none is left out because it fails."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bench.judge.summary import Summary

Check = Callable[[Summary], bool]
RATES = (0.1, 1, 10, 100, 1000)
OUTAGES = ("long before", "from the start", "minutes 1-16, skewed")


@dataclass(frozen=True)
class Bar:
    """`cell` must satisfy `check`; `wanted` says so in words, `shown` is the figure that decides.

    `beside` compares with the peer, too; a bar that has it is no row where the peer was not run.
    """

    number: str
    cell: str
    wanted: str
    check: Check
    shown: Callable[[Summary], str]
    peer: Callable[[Summary, Summary], str] | None = None
    beside: Callable[[Summary, Summary], bool] | None = None

    def met(self, ours: Summary, peer: Summary | None) -> bool:
        """Whether it is cleared."""
        return self.check(ours) and (self.beside is None or (peer is not None and self.beside(ours, peer)))


def _back(number: str, cell: str, most: float) -> Bar:
    return Bar(number, cell, f"rolled back <= {most:.1%}", lambda s: s.rolled_back <= most, lambda s: f"{s.rolled_back:.1%}", _shares)


def _on_at_most(number: str, cell: str, most: float) -> Bar:
    return Bar(
        number,
        cell,
        f"promoted <= {most:.0%}",
        lambda s: s.promoted <= most,
        lambda s: f"{s.promoted:.1%}",
        lambda _, p: f"{p.promoted:.0%}",
    )


def _caught(number: str, cell: str, least: float) -> Bar:
    return Bar(number, cell, f"caught >= {least:.1%}", lambda s: s.rolled_back >= least, lambda s: f"{s.rolled_back:.1%}", _shares)


def _within(number: str, cell: str, seconds: float) -> Bar:
    return Bar(number, cell, f"median <= {seconds:.0f} s", lambda s: s.median_back <= seconds, lambda s: f"{s.median_back:.0f} s", _faster)


def _harms(number: str, cell: str, most: float) -> Bar:
    return Bar(number, cell, f"harmed <= {most:g}", lambda s: s.harmed <= most, lambda s: f"{s.harmed:.3g}", _fewer)


def _spares(number: str, cell: str, times: float) -> Bar:
    words = f"harmed >= {times:g}x fewer"
    return Bar(number, cell, words, lambda _: True, lambda s: f"{s.harmed:.3g}", _fewer, lambda s, p: p.harmed >= times * s.harmed)


def _on(number: str, cell: str, seconds: float, least: float = 0.95) -> Bar:
    def check(s: Summary) -> bool:
        return s.promoted >= least and s.median_on <= seconds

    words = f"promoted >= {least:.0%}, median <= {seconds / 60:.0f} min"
    return Bar(
        number,
        cell,
        words,
        check,
        lambda s: f"{s.promoted:.1%}, {s.median_on / 60:.1f} min",
        lambda _, p: f"{p.promoted:.0%}, {p.median_on / 60:.1f} min",
    )


def _shares(_: Summary, peer: Summary) -> str:
    return f"{peer.rolled_back:.0%} back, {peer.promoted:.0%} on"


def _fewer(ours: Summary, peer: Summary) -> str:
    return f"{peer.harmed:.4g} ({peer.harmed / max(ours.harmed, 1e-9):.1f}x)"


def _faster(ours: Summary, peer: Summary) -> str:
    if math.isnan(peer.median_back):
        return "never"
    return f"{peer.median_back:.0f} s ({peer.median_back / ours.median_back:.1f}x)"


def _levels() -> Iterator[Bar]:
    for base in ("0.0%", "0.1%", "0.8%"):
        for rate in RATES:
            yield _back("1", f"healthy {base} {rate:g} rps", 0.01)
    for rate in (10, 100, 1000):
        yield _back("2", f"at margin {rate:g} rps", 0.01)
        yield _on_at_most("2", f"at margin {rate:g} rps", 0.05)
    for when in OUTAGES:
        for rate in RATES:
            yield _back("3", f"outage, {when}, {rate:g} rps", 0.03 if rate == 0.1 else 0.01)
    for rate, least in ((10, 0.85), (100, 0.98), (1000, 0.98)):
        yield _on("4", f"outage, minutes 1-16, skewed, {rate:g} rps", 3600, least)
    for size in (10, 50):
        for rate in (10, 100, 1000):
            for base in ("0.1%", "0.5%"):
                yield _back("13", f"bursts of {size}, {base}, {rate:g} rps", 0.01)
        for rate in (100, 1000):
            yield _on_at_most("13", f"bursts of {size}, at margin, {rate:g} rps", 0.10)
    for rate in (10, 100, 1000):
        yield _back("15", f"cold start {rate:g} rps", 0.02)


def _detection() -> Iterator[Bar]:
    for when in OUTAGES[:2]:
        cell = f"10 % in an outage of 5 %, {when}"
        yield from (_caught("5", cell, 0.99), _within("5", cell, 420), _harms("5", cell, 60))
    two = "fails 2 % 100 rps"
    yield from (_within("6", two, 180), _harms("6", two, 18), _spares("6", two, 2.6))
    yield Bar("6", two, "p90 <= 270 s", lambda s: s.p90_back <= 270, lambda s: f"{s.p90_back:.0f} s", lambda _, p: f"{p.p90_back:.0f} s")
    seven = "fails 2 % 1000 rps"
    yield from (_within("7", seven, 105), _harms("7", seven, 25), _spares("7", seven, 13))
    for rate, most in ((100, 18), (1000, 130)):
        eight = f"fails 20 % {rate} rps"
        yield from (_within("8", eight, 60), _harms("8", eight, most), _spares("8", eight, 20))
    yield _within("8", "fails 20 % 1 rps", 180)
    yield from (_within("8", "fails 20 % 0.1 rps", 900), _caught("8", "fails 20 % 0.1 rps", 0.97))
    yield from (_caught("9", "fails 2 % 10 rps", 1.0), _within("9", "fails 2 % 10 rps", 300), _harms("9", "fails 2 % 10 rps", 20))
    yield from (_caught("9", "fails 2 % 1 rps", 0.93), _on_at_most("9", "fails 2 % 1 rps", 0.02))
    yield from (
        _caught("10", "fails 0.5 % 100 rps", 0.98),
        _within("10", "fails 0.5 % 100 rps", 720),
        _harms("10", "fails 0.5 % 100 rps", 120),
    )
    yield from (_within("10", "fails 0.5 % 1000 rps", 600), _harms("10", "fails 0.5 % 1000 rps", 100))
    yield from (_on_at_most("10", f"fails 0.5 % {rate} rps", 0.01) for rate in (10, 100, 1000))
    yield from (_within("11", "P99 x1.3 100 rps", 150), _within("11", "P99 x1.3 10 rps", 300), _caught("11", "P99 x1.3 1 rps", 0.92))
    yield from (_within("11", "P99 x2 100 rps", 75), _within("11", "P99 x2 1 rps", 240))
    yield from (_caught("14", "fails 5 % from 30 % weight", 0.99), _harms("14", "fails 5 % from 30 % weight", 220))


def _service() -> Iterator[Bar]:
    for rate, minutes in ((0.1, 15), (1, 25), (10, 25), (100, 5), (1000, 5)):
        yield _on("12", f"healthy 0.1% {rate:g} rps", 60 * minutes)
    for cell in (
        "scrapes lost 30 % 10 rps",
        "scrapes lost 30 % 100 rps",
        "no data for 20 min 10 rps",
        "no data for 20 min 100 rps",
        "no data at all",
    ):
        yield _back("16", cell, 0.0)
        yield Bar("16", cell, "says why it holds", lambda s: s.said_why == 1, lambda s: f"{s.said_why:.1%}")
    for rate in (10, 100, 1000):
        yield _on_at_most("18", f"half its share seen {rate:g} rps", 0.01)
    for rate in RATES:
        yield Bar(
            "18", f"healthy 0.1% {rate:g} rps", "false mismatch <= 0.1 %", lambda s: s.mismatched <= 0.001, lambda s: f"{s.mismatched:.1%}"
        )
    yield Bar("21", "P99 x1.3 100 rps", "CPU <= 5 ms a tick", lambda s: s.cpu_ms <= 5, lambda s: f"{s.cpu_ms:.2f} ms")
    for rate in RATES:
        yield Bar(
            "22", f"healthy 0.1% {rate:g} rps", "forecast within 2x in 80 %", lambda s: s.forecast >= 0.8, lambda s: f"{s.forecast:.0%}"
        )


def _robust() -> Iterator[Bar]:
    for spacing in (5, 60):
        times, cell = spacing / 15, f"every {spacing} s:"
        yield from (
            _on("R", f"{cell} healthy", max(300, 300 * times)),
            _within("R", f"{cell} fails 2 %", 180 * max(times, 0.5)),
            _within("R", f"{cell} P99 x2", 75 * max(times, 0.5)),
        )
        yield _back("R", f"{cell} outage", 0.01)
    for cell in ("buckets istio", "buckets sparse", "buckets fine", "latency quick", "latency slow"):
        yield from (_back("R", f"{cell}: healthy", 0.01), _caught("R", f"{cell}: P99 x2", 0.99), _within("R", f"{cell}: P99 x2", 180))
        yield Bar(
            "R",
            f"{cell}: healthy",
            "promoted >= 95 %",
            lambda s: s.promoted >= 0.95,
            lambda s: f"{s.promoted:.1%}, {s.median_on / 60:.1f} min",
        )
    for rate in (10, 100):
        yield from (
            _back("R", f"traffic swings by half {rate} rps", 0.01),
            _on("R", f"traffic swings by half {rate} rps", 1500 if rate == 10 else 300),
        )
    yield from (_on("R", "no history: healthy", 360), _within("R", "no history: fails 2 %", 240))
    yield _caught("R", "scrapes lost 30 %, fails 2 %", 0.99)


BARS = (*_levels(), *_detection(), *_service(), *_robust())


def rows(found: Mapping[str, Mapping[str, Summary]]) -> list[list[str]]:
    """One row per bar whose cell was run: number, cell, wanted, ours, the peer, verdict."""
    table = []
    for bar in BARS:
        judges = found.get(bar.cell, {})
        peer = judges.get("flagger")
        if "ours" not in judges or (bar.beside is not None and peer is None):
            continue
        ours = judges["ours"]
        theirs = "-" if bar.peer is None or peer is None else bar.peer(ours, peer)
        table.append([bar.number, bar.cell, bar.wanted, bar.shown(ours), theirs, "pass" if bar.met(ours, peer) else "FAIL"])
    return table
