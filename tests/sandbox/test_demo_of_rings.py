"""`canary demo --rings`: a good release reaches three rings one after the other, a bad one stops in the first, and Git shows why."""

import json
import signal
import time

import pytest

from canary.sandbox.fleet import BAKE, RINGS
from tests.sandbox.demo import ROOT, Demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FIRST, *LATER = RINGS


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """One run: exit code, what was told, its errors, and the run itself."""
    it = Demo(tmp_path_factory.mktemp("rings"), "--rings", "--json")
    try:
        code, out, err = it.end(560)
    finally:
        it.close()
    return code, [json.loads(line) for line in out.splitlines()], err, it


def named(told, event, **wanted):
    return [one for one in told[1] if one["event"] == event and wanted.items() <= one.items()]


def commits(told):
    return {one["scenario"]: one["commit"] for one in named(told, "release")}


def test_it_ends_as_it_should_and_says_nothing_on_stderr(told):
    code, happenings, err, _ = told
    assert (code, err) == (0, ""), happenings[-8:]
    assert happenings[-1]["event"] == "summary"


def test_the_summary_keeps_its_contract(told):
    summary = told[1][-1]
    assert set(summary) == {"event", "parts", "runs", "rings"}
    assert {"api", "proxy", "metrics", "git", "load", "operator"} == set(summary["parts"])
    expected = {"scenario", "ring", "outcome", "weights", "requests", "failed_requests", "failed_check", "git"}
    assert all(set(run) == expected for run in summary["runs"])
    assert all(set(ring) == {"ring", "branch", "commit", "state", "why"} for ring in summary["rings"])
    assert [ring["ring"] for ring in summary["rings"]] == [*RINGS]


def test_the_good_release_is_promoted_in_every_ring_and_the_bad_one_ran_in_the_first_only(told):
    *good, bad = told[1][-1]["runs"]
    assert [(run["scenario"], run["ring"], run["outcome"]) for run in good] == [("good", ring, "Succeeded") for ring in RINGS]
    assert all((run["failed_requests"], run["git"]["revert"]) == (0, None) and run["requests"] > 50 for run in good)
    assert (bad["scenario"], bad["ring"], bad["outcome"], bad["failed_check"]) == ("bad", FIRST, "Failed", "request-success-rate")
    assert 0 < bad["failed_requests"] < bad["requests"] / 2, "users beside the canary must not notice"
    assert len({run["git"]["record"] for run in (*good, bad)}) == len(RINGS) + 1, "each cluster recorded each of its runs"


def test_rings_are_moved_in_order_and_no_other_way(told):
    release, revert = commits(told), told[1][-1]["runs"][-1]["git"]["revert"]
    moved = [(one["ring"], one["commit"]) for one in named(told, "ring")]
    assert moved == [*((ring, release["good"]) for ring in RINGS), (FIRST, release["bad"]), (FIRST, revert)]


@pytest.mark.parametrize(("before", "ring"), [*zip(RINGS, LATER, strict=False)])
def test_a_ring_waits_until_the_one_before_has_succeeded_and_baked(told, before, ring):
    (moved,) = named(told, "ring", ring=ring)
    succeeded = named(told, "canary", ring=before, phase="Succeeded")[0]
    assert moved["at"] - succeeded["at"] > BAKE - 1, "the record may be up to a second older than the sight of it"
    assert moved["waited"] >= BAKE


@pytest.mark.parametrize("ring", RINGS)
def test_no_cluster_begins_before_its_ring_is_moved(told, ring):
    happenings = told[1]
    moved = next(number for number, one in enumerate(happenings) if one["event"] == "ring" and one["ring"] == ring)
    began = next(number for number, one in enumerate(happenings) if one["event"] == "canary" and one["ring"] == ring and one["weight"])
    assert began > moved


def test_the_bad_release_is_taken_back_on_its_rings_branch_and_moves_no_other(told):
    first, *later = told[1][-1]["rings"]
    release, bad = commits(told), told[1][-1]["runs"][-1]
    assert first["commit"] == bad["git"]["revert"] not in release.values()
    assert [ring["commit"] for ring in later] == [release["good"]] * len(later)
    after = told[1].index(named(told, "release", scenario="bad")[0])
    assert {one["ring"] for one in told[1][after:] if one["event"] == "canary"} == {FIRST}
    rests = {one["ring"]: (one["rests"], one["runs"], one["phase"]) for one in named(told, "rest")}
    assert rests == {FIRST: (True, 2, "Failed")} | dict.fromkeys(LATER, (True, 1, "Succeeded"))


def test_git_shows_why(told):
    first, *later = told[1][-1]["rings"]
    assert (first["state"], first["why"]) == ("halted", f"1 of {len(RINGS)} clusters failed ({RINGS[FIRST]})")
    assert [(ring["state"], ring["why"]) for ring in later] == [("waiting", f"waiting behind the halt in ring {FIRST}")] * len(later)
    shown = [(one["release"].partition("-")[0], one["ring"], one["phase"]) for one in named(told, "standing")]
    assert shown[: len(RINGS)] == [("5.2.0", ring, "halted" if ring == FIRST else "waiting") for ring in RINGS]
    assert shown[len(RINGS) : 2 * len(RINGS)] == [("5.1.0", ring, "passed") for ring in RINGS]


def test_nothing_is_left_of_it(told):
    it = told[3]
    assert it.files() == []
    assert it.gone()


def test_a_bad_release_that_no_check_holds_ends_the_story_badly(tmp_path):
    """The verdict is about what happened, and the last ring is told as it is."""
    lenient = tmp_path / "lenient.yaml"
    lenient.write_text((ROOT / "examples" / "podinfo.yaml").read_text().replace("min: 99", "min: 1"))
    it = Demo(tmp_path / "demo", "--rings", "--json", f"--manifest={lenient}")
    try:
        code, out, _ = it.end(240)
    finally:
        it.close()
    bad = json.loads(out.splitlines()[-1])["runs"][-1]
    assert (code, bad["scenario"], bad["outcome"], bad["git"]["revert"]) == (1, "bad", "Succeeded", None)


def interrupted(tmp_path, ready):
    it = Demo(tmp_path / "demo", "--rings", "--json")
    try:
        ready(it)
        it.signal(signal.SIGINT)
        code, _, err = it.end(90)
        return code, err, it.files(), it.gone()
    finally:
        it.close()


@pytest.mark.parametrize("seconds", [0.0, 1.0, 3.0])
def test_ctrl_c_while_three_clusters_start_leaves_nothing(tmp_path, seconds):
    def ready(it):
        while not it.files() and it.popen.poll() is None:
            time.sleep(0.005)
        time.sleep(seconds)

    assert interrupted(tmp_path, ready) == (130, "", [], True)


def test_ctrl_c_while_rings_are_being_moved_leaves_nothing(tmp_path):
    assert interrupted(tmp_path, lambda it: it.until(lambda one: one["event"] == "ring")) == (130, "", [], True)


def test_rings_have_clusters_of_their_own(tmp_path):
    it = Demo(tmp_path / "demo", "--rings", "--cluster")
    assert it.end()[0::2] == (2, "error: --rings has clusters of its own: leave out --cluster\nhint: see `canary demo --help`\n")
