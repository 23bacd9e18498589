"""`judge: threshold` decides as Flagger 1.44 did, tick by tick, on traces recorded from Flagger itself (`python -m bench.traces`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.traces.scripts import all_scripts
from tests.traces.compare import compare, spoiled
from tests.traces.differences import RUNS, TICKS
from tests.traces.events import TELLS, told
from tests.traces.replay import Pace, recorded, runs

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (DOCS / "reference" / "differences.md", DOCS / "explanation" / "equal-to-flagger.md")
BY_NAME: dict[str, Any] = {run["name"]: run for run in runs()}


def test_the_traces_are_flaggers_and_many() -> None:
    assert recorded()["peer"] == "Flagger version 1.44.0"
    assert len(BY_NAME) == len(runs()) >= 36
    ends = {tick["states"][-1][0] for run in runs() for tick in run["ticks"] if "states" in tick}
    assert {"Succeeded", "Failed", "Waiting", "WaitingPromotion", "Promoting", "Finalising"} <= ends


def test_the_traces_are_of_the_scripts_as_they_are() -> None:
    scripts = {script.name: json.loads(json.dumps(script.plain())) for script in all_scripts()}
    kept = {"before", "ticks", "last", "primary"}
    assert {name: {key: value for key, value in run.items() if key not in kept} for name, run in BY_NAME.items()} == scripts


@pytest.mark.parametrize("pace", Pace)
@pytest.mark.parametrize("name", BY_NAME)
def test_our_rules_decide_as_flagger_did(name: str, pace: Pace) -> None:
    gaps = compare(BY_NAME[name], pace).gaps
    assert not gaps, "\n".join(map(str, gaps))


@pytest.mark.parametrize("name", BY_NAME)
def test_our_rules_tell_what_flagger_told(name: str) -> None:
    wrong, _ = told(BY_NAME[name])
    assert not wrong


def test_every_difference_is_documented() -> None:
    rows = [line.removeprefix("| ") for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    rules = (*TICKS.values(), *RUNS.values(), *TELLS.values())
    assert not [rule.row for rule in rules if not any(row.startswith(rule.row) for row in rows)]


def test_every_difference_shows_in_some_run() -> None:
    assert set().union(*(compare(run, Pace.PEER).used for run in runs())) == {*TICKS, *RUNS}
    assert set().union(*(told(run)[1] for run in runs())) == {*TELLS}


@pytest.mark.parametrize(
    ("tick", "changes", "what"),
    [
        (3, {"states": [["Progressing", 30, 0, 0]], "routes": [[30, False]]}, {"state", "route"}),
        (4, {"calls": [["metric", "request-success-rate"], ["metric", "request-success-rate"]]}, {"calls"}),
        (6, {"states": [["Failed", 0, 0, 0]]}, {"state", "phases"}),
    ],
)
def test_a_trace_that_says_otherwise_is_noticed(tick: int, changes: dict[str, Any], what: set[str]) -> None:
    gaps = compare(spoiled(BY_NAME["one-failure"], tick, **changes), Pace.PEER).gaps
    assert what <= {gap.what for gap in gaps if gap.tick == tick}


def test_a_rule_that_decides_otherwise_is_noticed() -> None:
    """The same trace against a manifest with one number changed: as if a rule were off by one."""
    run = BY_NAME["always-failing"]
    for changes in ({"threshold": 2}, {"threshold": 4}, {"stepWeight": 11}, {"metrics": []}):
        other = {**run, "analysis": {**run["analysis"], **changes}}
        assert compare(other, Pace.PEER).gaps, changes
        assert compare(other, Pace.OWN).gaps, changes
