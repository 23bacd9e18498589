"""`python -m tests.testbed.tools [--check] [NAME ...]`: build what is missing, print one line per program.

Exit code 0: everything named (default: all) is there, or cannot be had on this machine. 1: something is missing or could not be built. 2: an unknown name.
"""

import argparse
import sys
from pathlib import Path

from tests.testbed.tools.build import BuildError, UnsuitableError, exclusive, make
from tests.testbed.tools.find import ToolMissingError, cache_folder, find
from tests.testbed.tools.pins import PINS


def _say(line: str) -> None:
    print(line, flush=True)


def _report(name: str, path: Path, *, how: str) -> None:
    _say(f"{name:24} {PINS[name].stamp:48} {how:18} {path.stat().st_size / 1e6:6.1f} MB  {path}")


def _check(names: list[str]) -> int:
    failed = 0
    for name in names:
        try:
            _report(name, find(name), how="present")
        except ToolMissingError as absent:
            failed = 1
            _say(f"missing: {absent}")
    return failed


def _build(names: list[str]) -> int:
    failed = 0
    with exclusive(_say):
        for name in names:
            try:
                path, seconds = make(PINS[name])
                _report(name, path, how="present" if seconds is None else f"built in {seconds:.1f} s")
            except UnsuitableError as absent:
                _say(f"left out: {absent}")
            except BuildError as error:
                failed = 1
                _say(f"error: {error}")
    return failed


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed.tools", description="Build the programs of the test bed.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(PINS)}")
    parser.add_argument("--check", action="store_true", help="only look, build nothing")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in PINS]
    if unknown:
        parser.error(f"unknown program {', '.join(unknown)}; known: {', '.join(PINS)}")
    names = options.names or list(PINS)
    try:
        return _check(names) if options.check else _build(names)
    except OSError as error:
        _say(f"error: the cache {cache_folder()} cannot be used: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
