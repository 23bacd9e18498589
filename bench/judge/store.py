"""Outcomes on disk, one JSON line a run, so that a long measurement can be stopped, continued and added to."""

import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from bench.judge.rivals import Outcome


class Store:
    """Outcomes by cell, judge and seed. Without a file they live in memory only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._found: dict[tuple[str, str], dict[int, Outcome]] = defaultdict(dict)
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                cell, judge, seed, outcome = json.loads(line)
                self._found[cell, judge][seed] = Outcome(**outcome)

    def missing(self, cell: str, judge: str, *, first: int, runs: int) -> list[int]:
        """Seeds of this range that have not been run."""
        return [seed for seed in range(first, first + runs) if seed not in self._found[cell, judge]]

    def add(self, cell: str, judge: str, seed: int, outcome: Outcome) -> None:
        self._found[cell, judge][seed] = outcome
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                print(json.dumps([cell, judge, seed, asdict(outcome)]), file=file)

    def outcomes(self, cell: str, judge: str) -> list[Outcome]:
        return list(self._found[cell, judge].values())
