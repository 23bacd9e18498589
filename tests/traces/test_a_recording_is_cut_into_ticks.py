"""The recorder's own arithmetic: which tick a moment belongs to, whose query it is, and when a recording must be refused."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from bench.traces.clock import Rhythm
from bench.traces.script import Script, answer_at
from bench.traces.scripted import Entry, Journal, source_of
from bench.traces.scripts import all_scripts
from bench.traces.trace import TraceError, trace

SCRIPT = Script(name="app", about="", analysis={"interval": "10s", "threshold": 1})


def journal(*entries: tuple[float, str, tuple[object, ...]]) -> Journal:
    """A journal whose first tick began at 100 and whose release was seen by the third."""
    book = Journal({"app": SCRIPT})
    book.rhythm = Rhythm(100.0)
    book.released["app"] = 2
    book.entries += [Entry(at, "app", kind, what) for at, kind, what in entries]
    return book


@pytest.mark.parametrize(("at", "number"), [(100.0, 0), (99.5, 0), (106.0, 0), (109.5, 1), (110.0, 1), (115.2, 1), (128.9, 2), (129.1, 3)])
def test_a_moment_belongs_to_the_tick_that_began_before_it(at: float, number: int) -> None:
    assert Rhythm(100.0).number(at) == number


def test_a_run_is_counted_from_the_tick_that_saw_the_release() -> None:
    book = journal(
        (112.0, "state", ("Initialized", 0, 0, 0)),
        (120.1, "event", ("Normal", "Progressing", "New revision")),
        (120.2, "state", ("Progressing", 0, 0, 0)),
        (130.1, "call", ("metric", "errors")),
        (135.3, "state", ("Progressing", 0, 1, 0)),
        (150.1, "call", ("metric", "errors")),
    )
    found = trace(SCRIPT, book, last=2, primary="app:1")
    assert found["before"] == ["Initialized", 0, 0, 0]
    assert found["ticks"] == [
        {"tick": 0, "events": [["Normal", "Progressing", "New revision"]], "states": [["Progressing", 0, 0, 0]]},
        {"tick": 1, "calls": [["metric", "errors"]], "states": [["Progressing", 0, 1, 0]]},
    ]


def test_what_is_heard_between_two_ticks_spoils_the_recording() -> None:
    with pytest.raises(TraceError, match="nobody knows which"):
        trace(SCRIPT, journal((129.0, "call", ("metric", "errors"))), last=2, primary="app:1")


@pytest.mark.parametrize(
    ("query", "owner"),
    [
        ("vector(1)", None),
        ('trace{run="app-2",metric="errors"}', ("app-2", "errors")),
        (
            'a{envoy_cluster_name=~"traces_app-canary_[0-9a-zA-Z-]+",code!~"5.*"}/a{envoy_cluster_name=~"traces_app-canary_[0-9a-zA-Z-]+"}',
            ("app", "request-success-rate"),
        ),
        (
            'histogram_quantile(0.99,sum(rate(http_request_duration_seconds_bucket{kubernetes_pod_name=~"no-mesh-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"}[1m]))by(le))',
            ("no-mesh", "request-duration"),
        ),
        ('sum(istio_requests_total{destination_workload=~"mirror"})', ("mirror", "request-success-rate")),
    ],
)
def test_a_query_tells_whose_it_is(query: str, owner: tuple[str, str] | None) -> None:
    assert source_of(query) == owner


def test_the_last_answer_of_a_script_stays() -> None:
    answers = MappingProxyType({"errors": (1, 2)})
    assert [answer_at(dict(answers), "errors", tick) for tick in (-1, 0, 1, 2, 9)] == [1, 1, 2, 2, 2]
    assert answer_at(dict(answers), "other", 0) is None


def test_scripts_have_names_of_their_own_and_speak_only_for_their_sources() -> None:
    scripts = all_scripts()
    assert len({script.name for script in scripts}) == len(scripts)
    for script in scripts:
        sources = {one["name"] for kind in ("metrics", "webhooks") for one in script.analysis.get(kind, ())}
        assert set(script.answers) <= sources, script.name
