"""`python -m bench.traces record --out FILE`: run every script with the peer and write the traces down.

Needs FLAGGER_BIN (the project does not build it), the test bed's programs and the third-party CRDs, as `python -m bench` does.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import contestants
from bench.contestants import UsageError
from bench.traces.clock import INTERVAL
from bench.traces.recorder import record
from bench.traces.script import Json
from bench.traces.scripts import all_scripts
from tests.testbed import netns, tools


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    given = _parser().parse_args(arguments)
    scripts = [script for script in all_scripts() if not given.only or script.name in given.only]
    try:
        peer = contestants.peer()
        if absent := tools.missing(tools.CLUSTER):
            raise UsageError(absent)
        if unknown := set(given.only) - {script.name for script in scripts}:
            raise UsageError(f"no script is called {', '.join(sorted(unknown))}; they are in bench/traces/scripts.py")
        given.out.touch()  # better now than after five minutes
        netns.enter()
    except (OSError, UsageError, netns.NetnsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="canary-traces-"))
    try:
        runs = record(peer, scripts, folder, say=_say)
    except Exception as error:
        print(f"error: {type(error).__name__}: {error}", *getattr(error, "__notes__", ()), f"logs: {folder}", sep="\n", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    complete = len(runs) == len(scripts)
    if given.only:
        runs = merged(given.out, runs)
    given.out.write_text(written(peer.version.split(",")[0], runs), encoding="utf-8")
    _say(f"{len(runs)} runs, {sum(run['last'] + 1 for run in runs)} ticks: {given.out}")
    return 0 if complete else 1


def merged(path: Path, runs: Sequence[Json]) -> list[Json]:
    """The runs that the file has, with these in their places, in the order of the scripts."""
    text = path.read_text(encoding="utf-8")
    known = {run["name"]: run for run in (json.loads(text)["runs"] if text else [])} | {run["name"]: run for run in runs}
    return [known[script.name] for script in all_scripts() if script.name in known]


def written(version: str, runs: Sequence[Json]) -> str:
    """The file: a line per run, so that a difference between two recordings can be read."""
    lines = ",\n".join(json.dumps(run, separators=(",", ":")) for run in runs)
    return f'{{"peer":{json.dumps(version)},"interval":{INTERVAL:g},"runs":[\n{lines}\n]}}\n'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.traces", description="What the peer decides, tick by tick.")
    parser.add_argument("command", choices=["record"])
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the traces go, as JSON")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this script, in its place in FILE (repeatable)")
    return parser


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
