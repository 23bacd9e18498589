"""`python -m bench [NAME ...]`: measure, print, and with --json write down.

Nothing is asserted here: the exit code says whether measuring worked, not whether the machine was fast.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import contestants, scenarios
from bench.contestants import Contestant, UsageError
from bench.figures import Fleet, Rollout, plain
from bench.machine import await_calm, load, machine
from bench.report import report
from tests.testbed import netns, tools

SIZE = 100
EQUAL, SHORT, SHORT_TIMES = "10s", "1s", 5
"""The shortest interval that both contestants know, the shortest that we know, and how often the latter is repeated."""
_USAGE = """\
scenarios (default: both):
  rollout     one canary 10 to 50 by 10, at interval 10s; ours also at 1s
  fleet [N]   N canaries (default 100): bootstrap, a minute at rest, all released together

The peer is measured in the same run when FLAGGER_BIN names its binary. Contour's CRDs are taken from the folder that
CANARY_MESH_CRDS names. Programs of the test bed: python -m tests.testbed.tools
"""


@dataclass(frozen=True)
class Plan:
    """What to run: `rollout`, and fleets by their sizes."""

    rollout: bool
    fleets: tuple[int, ...]


def plan(words: Sequence[str]) -> Plan:
    """The scenarios that the positional arguments name. Raises UsageError."""
    rollout, fleets = not words, [] if words else [SIZE]
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "rollout":
            rollout = True
        elif word == "fleet":
            fleets.append(int(rest.pop(0)) if rest and rest[0].isdecimal() else SIZE)
        else:
            raise UsageError(f"unknown scenario {word!r}; there are `rollout` and `fleet [N]`")
    if 0 in fleets:
        raise UsageError("fleet 0: there is nothing to measure; write 1 or more")
    return Plan(rollout, tuple(fleets))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    given = _parser().parse_args(arguments)
    try:
        wanted = plan(given.scenario)
        players = _players(given)
        if absent := tools.missing(tools.CLUSTER):
            raise UsageError(absent)
        if given.json:
            given.json.touch()  # better now than after ten minutes
        netns.enter()
    except (OSError, UsageError, netns.NetnsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="canary-bench-"))
    before = load()
    try:
        rollouts, fleets = _measure(wanted, players, given=given, folder=folder)
    except Exception as error:
        print(f"error: {error}", *getattr(error, "__notes__", ()), f"logs: {folder}", sep="\n", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    about = {"machine": machine(), "load": [before, load()], "contestants": {one.name: one.version for one in players}}
    _print(about, rollouts, fleets)
    if given.json:
        results = [*map(plain, rollouts), *map(plain, fleets)]
        given.json.write_text(json.dumps(about | {"results": results}, indent=1) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="What the operator costs.", epilog=_USAGE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="*", metavar="NAME", help="rollout, fleet, fleet N; default: rollout and fleet 100")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, help="measure the peer too (default: if FLAGGER_BIN is set)")
    parser.add_argument("--peer-flag", action="append", metavar="FLAG", help=f"its flags (default: {' '.join(contestants.PEER_FLAGS)})")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="rollouts at interval 10s, for each contestant (default: 1)")
    parser.add_argument("--calm", type=float, default=0, metavar="MINUTES", help="wait so long for the machine to be idle (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser


def _players(given: argparse.Namespace) -> list[Contestant]:
    wanted = bool(os.environ.get("FLAGGER_BIN")) if given.peer is None else given.peer
    flags = contestants.PEER_FLAGS if given.peer_flag is None else tuple(given.peer_flag)
    others = [contestants.peer(flags)] if wanted else []
    return [contestants.ours(), *others]


def _measure(wanted: Plan, players: Sequence[Contestant], *, given: argparse.Namespace, folder: Path) -> tuple[list[Rollout], list[Fleet]]:
    """Scenario by scenario, the contestants directly after one another, so that they meet the same machine."""
    rollouts: list[Rollout] = []
    fleets: list[Fleet] = []
    for one in players if wanted.rollout else ():
        await_calm(60 * given.calm, say=_say)
        _say(f"one canary: {one.name} ({one.version})")
        intervals = {EQUAL: given.repeat} | ({SHORT: SHORT_TIMES} if one.extended else {})
        rollouts += scenarios.rollout(one, intervals=intervals, folder=folder / f"rollout-{one.name}", say=_say)
    for size in wanted.fleets:
        for one in players:
            await_calm(60 * given.calm, say=_say)
            _say(f"{size} canaries: {one.name}")
            fleets.append(scenarios.fleet(one, size=size, interval=EQUAL, folder=folder / f"fleet-{size}-{one.name}", say=_say))
    return rollouts, fleets


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _print(about: dict[str, Any], rollouts: Sequence[Rollout], fleets: Sequence[Fleet]) -> None:
    print(f"machine: {about['machine']}; load {about['load'][0]:.1f} before, {about['load'][1]:.1f} after")
    for name, version in about["contestants"].items():
        print(f"{name}: {version}")
    print()
    print(report(rollouts, fleets))


if __name__ == "__main__":
    sys.exit(main())
