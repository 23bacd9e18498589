"""`python -m bench.judge [CELL ...]`: simulate, print, write the report.

The exit code is 1 when a bar fails. One process, and it is polite: start it under `nice`.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.judge import bars
from bench.judge.cells import CELLS
from bench.judge.rivals import JUDGES
from bench.judge.store import Store
from bench.judge.summary import Summary, brief, summary
from bench.tables import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    given = _parser().parse_args(arguments)
    chosen = [name for name in CELLS if not given.cell or any(word in name for word in given.cell)]
    if not chosen:
        print(f"error: no cell has {' or '.join(map(repr, given.cell))} in its name; see --list", file=sys.stderr)
        return 2
    if given.list:
        print(*chosen, sep="\n")
        return 0
    store = Store(given.store)
    found: dict[str, dict[str, Summary]] = {}
    began = time.monotonic()
    for number, name in enumerate(chosen, 1):
        every = {judge: _run(store, name, judge, runs=given.runs, seed=given.seed) for judge in given.judge}
        found[name] = {judge: one for judge, one in every.items() if one is not None}
        if not found[name]:
            del found[name]
            continue
        figures = "; ".join(f"{judge} {brief(one)}" for judge, one in found[name].items())
        print(f"[{number}/{len(chosen)} {time.monotonic() - began:.0f} s] {name}: {figures}", file=sys.stderr, flush=True)
        if given.report:
            given.report.write_text(report(found), encoding="utf-8")
    print(report(found))
    return 1 if any(row[-1] == "FAIL" for row in bars.rows(found)) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.judge", description="Simulated releases, judged by three judges.")
    parser.add_argument("cell", nargs="*", metavar="CELL", help="only cells with this text in their name (default: all)")
    parser.add_argument(
        "--runs", type=int, default=200, metavar="N", help="runs per cell (default: 200); 0 only reports what the store has"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="first seed (default: 0)")
    parser.add_argument("--judge", nargs="+", choices=tuple(JUDGES), default=list(JUDGES), help="whom to measure (default: all)")
    parser.add_argument("--store", type=Path, metavar="FILE", help="keep outcomes there; runs that it has are not repeated but counted")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report there, after each cell")
    parser.add_argument("--list", action="store_true", help="name the cells and stop")
    return parser


def _run(store: Store, name: str, judge: str, *, runs: int, seed: int) -> Summary | None:
    for one in store.missing(name, judge, first=seed, runs=runs):
        store.add(name, judge, one, JUDGES[judge](CELLS[name], one))
    outcomes = store.outcomes(name, judge)
    return summary(outcomes) if outcomes else None


def report(found: Mapping[str, Mapping[str, Summary]]) -> str:
    """Markdown: the bars, then every cell."""
    rows = bars.rows(found)
    failed = sum(row[-1] == "FAIL" for row in rows)
    judges = list(dict.fromkeys(judge for cell in found.values() for judge in cell))
    cells = [
        [name, str(max(one.runs for one in cell.values())), *(brief(cell.get(judge)) for judge in judges)] for name, cell in found.items()
    ]
    runs = sorted({one.runs for cell in found.values() for one in cell.values()})
    head = f"{runs[0]} to {runs[-1]} runs a cell. {len(rows) - failed} of {len(rows)} checks pass."
    legend = "Rolled back/promoted/inconclusive % - median min to roll-back - to promotion - users harmed (mean of the hour)."
    bar_table = table(["bar", "release", "wanted", "ours", "Flagger's rule", ""], rows)
    return f"{head}\n\n{bar_table}\n\n{legend}\n\n{table(['release', 'runs', *judges], cells)}\n"


if __name__ == "__main__":
    sys.exit(main())
