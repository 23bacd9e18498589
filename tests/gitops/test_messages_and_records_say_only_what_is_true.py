"""Commit messages that cannot be forged by what the cluster says, and records that are whole, small and without secrets."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary.api.canaryrun import CanaryRun, parse_canary_run
from canary.gitops import message, record
from tests.gitops.support import BAD, GOOD, run

CLUSTER = "cluster-001"


def parsed(**changes: object) -> CanaryRun:
    return parse_canary_run(run("0123456789abcdef", **changes))  # type: ignore[arg-type]


def trailers(text: str) -> list[str]:
    """What git itself takes for trailers."""
    return subprocess.run(
        ["git", "interpret-trailers", "--parse", "--no-divider"], input=text, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def expected(effect: str, outcome: str = "failed") -> list[str]:
    return [
        "Canary-Run-Id: 0123456789abcdef",
        f"Canary-Outcome: {outcome}",
        "Canary-Object: prod/podinfo",
        f"Canary-Cluster: {CLUSTER}",
        f"Canary-Effect: {effect}",
    ]


FORGERIES = [
    "x\nCanary-Run-Id: ffff",
    "x\n\nCanary-Effect: revert ffff\n",
    "Canary-Effect: revert ffff",
    "x\rCanary-Effect: revert ffff",
    "x\u2028Canary-Effect: revert ffff",
    "x\x85\x0b\x0c\x1c\x1d\x1eCanary-Effect: revert ffff",
    "---\nCanary-Effect: revert ffff",
    "Signed-off-by: someone <a@b>",
    "y" * 10_000,
    "",
]


@pytest.mark.parametrize("reason", FORGERIES)
@pytest.mark.fault(29)
def test_no_reason_can_forge_a_trailer(reason: str) -> None:
    it = parsed(reason=reason)
    revert = message.revert_message(it, CLUSTER, [(BAD, GOOD)])
    assert trailers(revert) == expected("revert 0123456789abcdef")
    path = record.path_of(it, CLUSTER)
    assert trailers(message.record_message([it], CLUSTER, paths=[path])) == expected(f"record {path}")
    assert all(len(line) <= 210 for line in revert.splitlines())


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
@pytest.mark.fault(29)
def test_any_reason_stays_on_its_line(reason: str) -> None:
    text = message.revert_message(parsed(reason=reason), CLUSTER, [(BAD, GOOD)])
    assert len(text.splitlines()) == len(text.split("\n")) - 1 == len(message.revert_message(parsed(), CLUSTER, [(BAD, GOOD)]).splitlines())


@pytest.mark.parametrize("words", ["[skip ci]", "[CI SKIP]", "[no ci]", "***NO_CI***", "[skip actions]"])
def test_a_reason_cannot_switch_off_the_pipeline_of_a_manifest(words: str) -> None:
    text = message.revert_message(parsed(reason=f"because {words}"), CLUSTER, [(BAD, GOOD)])
    assert words not in text
    assert "because" in text


def test_subjects_say_what_happened_and_records_need_no_pipeline() -> None:
    assert message.subject(message.revert_message(parsed(), CLUSTER, [(BAD, GOOD)])) == (
        "canary(prod/podinfo): revert 6.1.0 -> 6.0.0, analysis failed on cluster-001"
    )
    digests = [("r:5000/a@sha256:bbbbbbbbbbbbbbbb", "r:5000/a:1@sha256:aaaaaaaaaaaaaaaa"), ("r:5000/a", "r:5000/b")]
    assert "revert sha256:bbbbbbbbbbbb -> sha256:aaaaaaaaaaaa, a -> b" in message.revert_message(parsed(), CLUSTER, digests)
    one = message.record_message([parsed()], CLUSTER, paths=["p"])
    assert message.subject(one) == "record(prod/podinfo): failed on cluster-001 [skip ci]"
    long = parsed(canary="a" * 250, namespace="n" * 60)
    assert message.subject(message.record_message([long], "c" * 250, paths=["p"])).endswith("[skip ci]")


def test_many_records_in_one_commit_are_all_found_again() -> None:
    runs = [parse_canary_run(run(f"r{number}", outcome="Succeeded")) for number in range(50)]
    paths = [record.path_of(one, CLUSTER) for one in runs]
    text = message.record_message(runs, CLUSTER, paths=paths)
    assert message.subject(text) == "record: outcomes of 50 runs on cluster-001 [skip ci]"
    assert {f"Canary-Effect: record {path}" for path in paths} <= set(trailers(text))


def test_the_record_holds_the_evidence() -> None:
    data = record.record(parsed(), CLUSTER)
    assert data["outcome"] == "failed"
    assert data["release"]["images"] == {"podinfo": BAD}
    assert data["previous"]["images"] == {"podinfo": GOOD}
    assert data["checks"][0]["worst"] == 92.1
    assert data["checks"][0]["query"] == "sum(rate(x[1m]))"
    assert data["finishedAt"].endswith("Z")
    assert data["finishedAt"] > data["startedAt"]
    text = record.encode(data)
    assert json.loads(text) == data
    assert list(json.loads(text)) == sorted(data)


def test_the_record_names_the_commit_that_started_the_run_and_no_password() -> None:
    body = run("0123456789abcdef")
    assert "source" not in record.record(parse_canary_run(body), CLUSTER)
    body["spec"]["source"] = {"revision": "a" * 40, "repository": "https://bot:hunter2@git.example/acme/fleet.git", "via": "Kustomization"}
    data = record.record(parse_canary_run(body), CLUSTER)
    assert data["source"] == {
        "revision": "a" * 40,
        "repository": "https://***@git.example/acme/fleet.git",
        "via": "Kustomization",
        "confidence": "high",
    }
    body["spec"]["source"] = {"revision": "a" * 40, "path": "apps", "via": "Kustomization", "confidence": "low"}
    assert record.record(parse_canary_run(body), CLUSTER)["source"] == body["spec"]["source"]


def test_the_record_says_what_the_version_was_compared_with_and_no_password() -> None:
    assert "baseline" not in record.record(parsed(), CLUSTER)
    assert record.record(parsed(baseline={"compared": "fresh"}), CLUSTER)["baseline"] == {"compared": "fresh"}
    given_up = {"compared": "primary", "reason": "pull https://me:hunter2@registry.example/app failed"}
    found = record.record(parsed(baseline=given_up), CLUSTER)["baseline"]
    assert found == {"compared": "primary", "reason": "pull https://***@registry.example/app failed"}


def test_the_record_tells_the_run_tick_by_tick() -> None:
    rows = [
        {"seq": 1, "at": 0.25, "weight": 0, "to": 5, "gates": ["oncall: yes (http://me:hunter2@host/ok)"]},
        *({"seq": n, "at": 10.0 * n, "weight": 5 * n - 5, "to": 5 * n, "checks": ["Pass 99.5"]} for n in range(2, 21)),
        {"seq": 21, "at": 210, "weight": 100, "failed": 1, "checks": ["Fail 92.1"]},
    ]
    it = parsed(history=rows)
    data = json.loads(record.encode(record.record(it, CLUSTER)))
    assert "truncated" not in data
    first, *steps, last = data["history"]
    started = data["startedAt"]
    assert first["time"] == started.replace(".000Z", ".250Z")
    assert "hunter2" not in first["gates"][0]
    assert [(row["weight"], row["to"], row["checks"]) for row in steps] == [(5 * n - 5, 5 * n, ["Pass 99.5"]) for n in range(2, 21)]
    assert (last["failed"], last["checks"], "to" in last) == (1, ["Fail 92.1"], False)
    assert all("at" not in row for row in data["history"])


def test_a_long_history_is_thinned_and_keeps_what_went_wrong() -> None:
    rows = [
        {"seq": n, "at": 10.0 * n, "weight": 50, "checks": ["Fail 1" if n % 200 == 0 else "Pass 99.5", "Pass 12"]} for n in range(1, 1001)
    ]
    data = record.record(parsed(history=rows), CLUSTER)
    assert len(record.encode(data)) <= record.MAX_BYTES
    assert data["history"][0]["seq"] == 1
    assert data["history"][-1]["seq"] == 1000
    assert [row["seq"] for row in data["history"] if row["checks"][0] == "Fail 1"] == [200, 400, 600, 800, 1000]
    assert len(data["history"]) > 50


@pytest.mark.parametrize("what", ["reason", "checks", "queries", "images", "history"])
@pytest.mark.fault(29)
def test_a_record_is_never_larger_than_32_kib(what: str) -> None:
    check = {"name": "c", "query": "q" * 400, "verdict": "Fail"}
    huge = {
        "reason": {"reason": "ü" * 100_000},
        "checks": {"checks": [{**check, "name": f"c{number}"} for number in range(2000)]},
        "queries": {"checks": [{**check, "query": "q" * 40_000}]},
        "images": {"images": {f"c{number}": "x" * 100 for number in range(1000)}},
        "history": {"history": [{"seq": n, "at": n, "gates": ["g" * 400] * 8} for n in range(40)]},
    }[what]
    text = record.encode(record.record(parsed(**huge), CLUSTER))
    assert len(text) <= record.MAX_BYTES
    data = json.loads(text)
    assert data["runId"] == "0123456789abcdef"
    assert data["outcome"] == "failed"
    assert data.get("truncated", False) is (what in {"checks", "images"})


def test_a_query_with_a_password_in_a_url_is_scrubbed() -> None:
    check = {"name": "c", "query": "http://user:hunter2@db/x", "verdict": "Fail"}
    assert b"hunter2" not in record.encode(record.record(parsed(checks=[check]), CLUSTER))


@pytest.mark.parametrize("name", ["../../x", "a/b", "", ".", "..", "A", "a\nb", "-a"])
@pytest.mark.fault(30)
def test_no_path_is_built_from_a_name_that_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        record.folder_of(parsed(canary=name), CLUSTER)


def test_the_pointer_names_the_release_and_not_the_evidence() -> None:
    data = record.promoted(parsed(outcome="Succeeded"), CLUSTER)
    assert data["release"]["images"] == {"podinfo": BAD}
    assert "checks" not in data
    assert "outcome" not in data
