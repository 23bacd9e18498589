"""`python -m bench.git [drift] [traffic]`: what writing back to Git costs, against `git http-backend` over HTTP, in a repository of 50,000 files.

    drift     one failed run after another: from its end, as the worker sees it, to the revert on the branch
    traffic   50 canaries of two clusters, whose releases fail again and again, while people commit to the same branch: write-backs a minute, pushes
              that had to be computed anew, and whether anything was lost, by reading the branches afterwards

The repository is generated once and kept in `--folder`; each run works on a copy. Worker and server are processes of their own; the worker is the operator's
outbox on an API in memory. Nothing is asserted but that nothing was lost: the exit code is 1 when something was, not when the machine was slow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.git import monorepo
from bench.git.drift import drift
from bench.git.figures import Drift, Traffic
from bench.git.ground import NAME, Ground
from bench.git.report import plain, report
from bench.git.traffic import traffic
from bench.machine import load, machine

SCENARIOS = ("drift", "traffic")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    given = _parser().parse_args(arguments)
    shape, before = monorepo.Shape(given.files), load()
    _say(f"a repository of {shape.files} files in {given.folder}")
    template = monorepo.made(shape, given.folder, int(time.time()))
    found = [_measured(name, given, shape, template) for name in given.scenario or SCENARIOS]
    drifted = next((one for one in found if isinstance(one, Drift)), None)
    rushed = next((one for one in found if isinstance(one, Traffic)), None)
    about = {"machine": machine(), "load": [before, load()]}
    print(f"machine: {about['machine']}; load {before:.1f} before, {load():.1f} after\n")
    print(report(drifted, rushed))
    if given.json:
        given.json.write_text(json.dumps(about | {"results": [plain(one) for one in found]}, indent=1) + "\n", encoding="utf-8")
    return 1 if rushed and rushed.wrong else 0


def _measured(name: str, given: argparse.Namespace, shape: monorepo.Shape, template: Path) -> Drift | Traffic:
    with tempfile.TemporaryDirectory(prefix="canary-bench-git-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        shutil.copytree(template, folder / "git" / f"{NAME}.git")
        _say(name)
        ground = Ground(folder / "git")
        try:
            if name == "drift":
                return asyncio.run(drift(ground, shape, given.reverts, folder / "mirrors", _say))
            sizes = {"canaries": given.canaries, "clusters": given.clusters, "rounds": given.rounds}
            return asyncio.run(traffic(ground, shape, folder=folder / "mirrors", say=_say, **sizes))
        finally:
            ground.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.git",
        description="What writing back to Git costs.",
        epilog=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], metavar="NAME", help="drift, traffic; default: both")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "canary-bench-cache", help="where the repository is kept"
    )
    parser.add_argument("--files", type=_count, default=50_000, help="files of the repository (default: 50000)")
    parser.add_argument("--reverts", type=_count, default=100, help="drift: reverts after the first one (default: 100)")
    parser.add_argument("--canaries", type=_count, default=50, help="traffic: canaries (default: 50)")
    parser.add_argument("--clusters", type=_count, default=2, help="traffic: operators that share them (default: 2)")
    parser.add_argument("--rounds", type=_count, default=4, help="traffic: failed releases of each canary (default: 4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
