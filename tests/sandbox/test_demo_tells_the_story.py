"""The main job of the product, as its users see it: `canary demo --json` from nothing to its summary."""

import json
import os

import pytest

from tests.sandbox.demo import ROOT, Demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHORT = ROOT / "examples" / "podinfo.yaml"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """One run with the manifest of 2020: exit code, what was told, and the run itself."""
    it = Demo(tmp_path_factory.mktemp("demo"), "--json")
    try:
        code, out, err = it.end(500)
    finally:
        it.close()
    return code, [json.loads(line) for line in out.splitlines()], err, it


def named(told, event):
    return [one for one in told[1] if one["event"] == event]


def test_it_ends_as_it_should_and_says_nothing_on_stderr(told):
    code, happenings, err, _ = told
    assert (code, err) == (0, ""), happenings[-5:]
    assert happenings[-1]["event"] == "summary"


def test_the_summary_keeps_its_contract(told):
    summary = told[1][-1]
    assert set(summary) == {"event", "parts", "runs"}
    assert {"api", "proxy", "metrics", "git"} <= set(summary["parts"])
    assert all(summary["parts"].values())
    good, bad = summary["runs"]
    for run in summary["runs"]:
        assert set(run) == {"scenario", "outcome", "weights", "requests", "failed_requests", "failed_check", "git"}
        assert set(run["git"]) == {"record", "revert"}
        assert len(run["git"]["record"]) == 40
    assert (good["scenario"], good["outcome"], good["failed_requests"], good["failed_check"]) == ("good", "Succeeded", 0, None)
    assert good["weights"] == list(range(5, 101, 5))
    assert good["requests"] > 200
    assert good["git"]["revert"] is None
    assert (bad["scenario"], bad["outcome"], bad["failed_check"]) == ("bad", "Failed", "request-success-rate")
    assert bad["weights"] == list(range(5, bad["weights"][-1] + 1, 5))
    assert bad["weights"][-1] < 100
    assert 0 < bad["failed_requests"] < bad["requests"] / 2, "users beside the canary must not notice"
    assert len(bad["git"]["revert"]) == 40


def test_the_good_release_is_judged_by_numbers_from_its_first_check_on(told):
    """The rest is the machine's: under heavy load a sample may be late, once."""
    happenings = told[1]
    began, ended = (next(i for i, one in enumerate(happenings) if one["event"] == kind) for kind in ("release", "outcome"))
    blind = [one["text"] for one in happenings[began:ended] if one["event"] == "message" and "no values found" in one["text"]]
    assert len(blind) <= (os.getloadavg()[0] > 2 * (os.cpu_count() or 1)), blind
    checks = [one["checks"] for one in happenings[began:ended] if one["event"] == "canary" and one["weight"] > 5]
    assert all(check["value"] is not None for one in checks for check in one)


def test_the_operator_is_heard_step_by_step_in_both_runs(told):
    texts = [one["text"] for one in named(told, "message")]
    assert texts.count("Advance podinfo.prod canary weight 5") == 2
    assert texts.count("New revision detected! Scaling up podinfo.prod") == 2
    assert "Promotion completed! Scaling down podinfo.prod" in texts
    assert "Rolling back podinfo.prod failed checks threshold reached 5" in texts


def test_after_the_revert_the_cluster_rests_on_the_promoted_version(told):
    (rest,) = named(told, "rest")
    good, _ = named(told, "release")
    assert (rest["image"], rest["rests"], rest["runs"], rest["phase"]) == (good["image"], True, 2, "Failed")


def test_times_only_grow(told):
    times = [one["at"] for one in told[1] if "at" in one]
    assert times == sorted(times)


def test_nothing_is_left_of_it(told):
    it = told[3]
    assert it.files() == []
    assert it.gone()


def test_another_manifest_and_lines_of_text(tmp_path):
    """Half of the traffic is enough for this one; its interval of ten seconds is replaced."""
    it = Demo(tmp_path / "demo", "--headless", f"--manifest={SHORT}")
    try:
        code, out, err = it.end(500)
    finally:
        it.close()
    assert code == 0, err + out
    lines = out.splitlines()
    assert any(line.endswith("canary    Progressing, weight 50 %") for line in lines)
    assert not any("weight 60 %" in line for line in lines)
    assert lines[-1].endswith(" good: Succeeded; bad: Failed")


def test_a_canary_that_never_fails_a_check_ends_the_story_badly(tmp_path):
    """The demo's verdict is about what happened: a bound that nothing breaks lets the bad version through, and that is not as it should be."""
    lenient = tmp_path / "lenient.yaml"
    lenient.write_text(SHORT.read_text().replace("min: 99", "min: 1"))
    it = Demo(tmp_path / "demo", "--json", f"--manifest={lenient}")
    try:
        code, out, _ = it.end(500)
    finally:
        it.close()
    bad = json.loads(out.splitlines()[-1])["runs"][1]
    assert (code, bad["outcome"], bad["git"]["revert"]) == (1, "Succeeded", None)
