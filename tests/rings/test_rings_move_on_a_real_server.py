"""Whole walks through rings on bare repositories behind a real Git server, with records that the operator's own code wrote."""

from __future__ import annotations

import time

import pytest

from canary.core.errors import NotFound, Rejected
from canary.gitops.failures import GitFailed
from canary.gitops.rings.decide import decide
from canary.gitops.rings.reader import Memory, read
from canary.gitops.rings.standing import Phase
from canary.gitops.rings.writer import settle
from tests.rings.repository import RINGS, Fleet, manifest, rules

pytestmark = pytest.mark.slow
BRANCH = {"mode": "branch"}
LATER = 600.0
"""Seconds that are added to the time: what was written just now is then old enough."""


@pytest.fixture
def fleet(server, tmp_path):
    fleet = Fleet(server, tmp_path, {"apps/podinfo.yaml": manifest("6.0.0"), "README.md": "x"})
    for ring in RINGS:
        fleet.git("branch", ring, "main")
    return fleet


def soon():
    return time.time() + LATER


async def settled(fleet, plan, mirror=None, **more):
    return await settle(mirror or fleet.mirror(), plan, soon, **more)


async def seen(fleet, plan, mirror=None):
    view = await read(mirror or fleet.mirror(), plan)
    return view, decide(plan, view, soon())


# ----------------------------------------------------------------------------------------------- mode branch


async def test_a_release_walks_from_branch_to_branch_by_fast_forward(fleet):
    plan, mirror, memory = rules(**BRANCH), fleet.mirror(), Memory()
    commit = fleet.release("6.1.0")
    fleet.write({"README.md": "later"})
    for ring in RINGS:
        _, decision, done = await settled(fleet, plan, mirror, memory=memory)
        assert [one.failure for one in done] == [None] * len(done)
        assert fleet.head(ring) == commit
        fleet.all_say(ring, "6.1.0")
    _, decision, done = await settled(fleet, plan, mirror, memory=memory)
    assert [one.phase for one in decision.standings[0]] == [Phase.PASSED] * 3
    assert (await settled(fleet, plan, mirror, memory=memory))[2] == []
    written = fleet.git("ls-tree", "-r", "--name-only", "canary-state").split()
    assert [path.rpartition("/")[2] for path in written] == [f"ring-{ring}.json" for ring in RINGS]


async def test_a_failed_cluster_stops_the_release_before_the_next_ring(fleet):
    old = fleet.head("second")
    fleet.release("6.1.0")
    await settled(fleet, rules(**BRANCH))
    fleet.say("first-0", "6.1.0", result="Failed")
    _, decision, done = await settled(fleet, rules(**BRANCH))
    (release,) = decision.halted
    assert [one.what for one in done] == ["evidence"]
    assert fleet.head("second") == old
    assert '"first-0"' in fleet.show(f"podinfo/{release}/halt.json", "canary-state")
    fleet.say("first-0", "6.1.0", ago=-60)  # it tries again, and succeeds
    _, decision, _ = await settled(fleet, rules(**BRANCH))
    assert release in decision.halted
    fleet.write({f"fleet/approvals/podinfo/{release}/resume.yaml": "why: a broken node\n"})
    _, decision, _ = await settled(fleet, rules(**BRANCH))
    assert decision.halted == {}
    assert fleet.head("second") == fleet.head("first")


async def test_a_halt_takes_rings_back_by_commits_if_the_plan_says_so(fleet):
    plan, mirror, memory = rules(**BRANCH, halt={"then": "revert"}), fleet.mirror(), Memory()
    good = fleet.release("6.1.0")
    for ring in RINGS:
        await settled(fleet, plan, mirror, memory=memory)
        fleet.all_say(ring, "6.1.0")
    bad = fleet.release("6.2.0")
    await settled(fleet, plan, mirror, memory=memory)
    fleet.all_say("first", "6.2.0")
    await settled(fleet, plan, mirror, memory=memory)
    assert [fleet.head(ring) for ring in RINGS] == [bad, bad, good]
    fleet.say("second-1", "6.2.0", result="Failed")
    _, decision, done = await settled(fleet, plan, mirror, memory=memory)
    (release,) = decision.halted
    back = decision.targets["first"]
    assert [one.what for one in done] == ["evidence", f"ring first back to {back}", f"ring second back to {back}"]
    assert [fleet.git("diff", "--name-only", ring, good) for ring in RINGS] == [""] * 3
    assert [fleet.git("rev-parse", f"{ring}^") for ring in ("first", "second")] == [bad, bad]  # nothing is forced
    assert (await settled(fleet, plan, mirror, memory=memory))[2] == []
    newer = fleet.release("6.3.0")
    await settled(fleet, plan, mirror, memory=memory)
    assert fleet.git("rev-parse", "first^2") == newer
    assert release in decision.halted


async def test_people_may_say_that_a_release_broke_after_it_had_succeeded(fleet):
    fleet.release("6.1.0")
    await settled(fleet, rules(**BRANCH))
    fleet.all_say("first", "6.1.0", ago=60)
    view, decision = await seen(fleet, rules(**BRANCH))
    release = view.candidates[0].release
    assert not decision.halted
    path = f"fleet/approvals/podinfo/{release}/degraded.yaml"
    fleet.write({path: "clusters: [first-0, first-7]\nwhy: it leaks\n"})
    view, decision = await seen(fleet, rules(**BRANCH))
    assert decision.halted == {release: "1 of 5 clusters failed (first-0 degraded)"}
    assert f"first-7 is said to have broken with {release}, and has no record of it" in view.problems
    fleet.write({path: "why: it leaks\n"})
    view, decision = await seen(fleet, rules(**BRANCH))
    assert (decision.halted, f"{path} names no `clusters` in which it broke, and is ignored" in view.problems) == ({}, True)


async def test_the_next_release_overtakes_a_halted_one(fleet):
    fleet.release("6.1.0")
    await settled(fleet, rules(**BRANCH))
    fleet.say("first-0", "6.1.0", result="Failed")
    good = fleet.release("6.2.0")
    await settled(fleet, rules(**BRANCH))
    assert (fleet.head("first"), fleet.head("second") == good) == (good, False)
    fleet.all_say("first", "6.2.0")
    await settled(fleet, rules(**BRANCH))
    assert fleet.head("second") == good


async def test_a_recorded_rollback_appends_and_the_next_release_merges(fleet):
    plan, old = rules(**BRANCH), fleet.head("first")
    fleet.release("6.1.0")
    await settled(fleet, plan)
    view, _ = await seen(fleet, plan)
    bad = fleet.head("first")
    fleet.write({"fleet/approvals/podinfo/rollback.yaml": f"release: {view.candidates[1].release}\nrings: [first]\n"})
    _, _, done = await settled(fleet, plan)
    assert [one.what for one in done] == [f"ring first back to {view.candidates[1].release}"]
    assert fleet.git("diff", "--name-only", "first", old) == ""
    assert fleet.git("rev-parse", "first^") == bad  # nothing is forced, and nothing is lost
    assert (await settled(fleet, plan))[2] == []
    time.sleep(1.1)  # whole seconds tell which release came after the rollback
    newer = fleet.release("6.2.0")
    await settled(fleet, plan)
    assert fleet.git("rev-parse", "first^2") == newer
    assert fleet.git("diff", "--name-only", "first", newer) == ""
    assert (await settled(fleet, plan))[2] == []


async def test_a_branch_that_somebody_committed_to_is_left_alone_and_told(fleet):
    fleet.write({"README.md": "by hand"}, branch="second")
    fleet.release("6.1.0")
    fleet.all_say("first", "6.1.0")
    hand = fleet.head("second")
    view, _, _ = await settled(fleet, rules(**BRANCH))
    assert fleet.head("second") == hand
    assert any("ring second is left alone" in problem for problem in view.problems)


async def test_a_ring_whose_operator_took_the_image_back_takes_the_next_release(fleet):
    fleet.release("6.1.0")
    await settled(fleet, rules(**BRANCH))
    fleet.say("first-0", "6.1.0", result="Failed")
    message = "revert podinfo to 6.0.0\n\nCanary-Effect: revert 5f0c1a9be2d34c77\n"
    revert = fleet.write({"apps/podinfo.yaml": manifest("6.0.0")}, branch="first", message=message)
    view, _, _ = await settled(fleet, rules(**BRANCH))
    assert view.problems == ()
    assert (fleet.head("first"), view.heads["first"].release.partition("-")[0]) == (revert, "6.0.0")
    fix = fleet.release("6.2.0")
    await settled(fleet, rules(**BRANCH))
    assert fleet.git("rev-parse", "first^1", "first^2").split() == [revert, fix]
    assert fleet.git("diff", "--name-only", "first", fix) == ""


async def test_a_ring_without_a_branch_gets_one(fleet):
    fleet.git("branch", "-D", "first")
    commit = fleet.release("6.1.0")
    await settled(fleet, rules(**BRANCH))
    assert fleet.head("first") == commit


async def test_who_loses_the_race_reads_again_and_nothing_is_done_twice(fleet, server):
    fleet.release("6.1.0")
    rival = fleet.mirror("rival")
    pushes = []

    def fault(handler):
        if handler.path.endswith("git-receive-pack") and handler.command == "POST" and not pushes:
            pushes.append(handler.path)
            server.fault = None
            fleet.release("6.2.0")
            fleet.git("update-ref", "refs/heads/first", fleet.head("main"))
        return False

    server.fault = fault
    _, _, done = await settled(fleet, rules(**BRANCH), rival)
    assert pushes
    assert done == []
    assert fleet.head("first") == fleet.head("main")


@pytest.mark.parametrize("lost", ["request", "reply"])
async def test_a_crash_around_a_push_neither_doubles_nor_loses(fleet, server, lost):
    fleet.release("6.1.0")
    fleet.all_say("first", "6.1.0")
    cuts = []

    def fault(handler):
        if handler.path.endswith("git-receive-pack") and handler.command == "POST" and len(cuts) < 2:
            cuts.append(1)
            if lost == "reply":
                handler.obey()
            else:
                handler._body()
            handler.cut()
            return True
        return False

    server.fault = fault
    await settled(fleet, rules(**BRANCH), fleet.mirror("one"))
    await settled(fleet, rules(**BRANCH), fleet.mirror("two"))
    assert cuts == [1, 1]
    assert fleet.head("second") == fleet.head("first") == fleet.head("main")
    assert fleet.git("rev-list", "--count", "canary-state") == "1"


async def test_a_protected_branch_is_told_and_the_others_move(fleet, server):
    server.hook("fleet", "update", '[ "$1" != refs/heads/second ] || { echo "GH006: protected branch"; exit 1; }')
    fleet.release("6.1.0")
    fleet.all_say("first", "6.1.0")
    _, _, done = await settled(fleet, rules(**BRANCH))
    assert {one.what.split(" to ")[0]: one.failure.reason if one.failure else "" for one in done} == {
        "evidence": "",
        "ring first": "",
        "ring second": "Protected",
    }


# ------------------------------------------------------------------------------------- which release is where


async def test_a_release_is_told_by_its_images_and_walks_as_the_commit_that_brought_them(fleet):
    introduced = fleet.release("6.1.0")
    fleet.write({"apps/other.yaml": "kind: ConfigMap\n"})
    fleet.write({"apps/podinfo.yaml": manifest("6.1.0") + "      terminationGracePeriodSeconds: 5\n"})
    view, _ = await seen(fleet, rules(**BRANCH))
    assert view.candidates[0].commit == introduced
    assert view.heads["second"].position == 1


async def test_a_revert_brings_a_known_good_release_back_to_all_rings_at_once(fleet):
    plan = rules(**BRANCH)
    for ring in RINGS:
        fleet.all_say(ring, "6.0.0")
    fleet.release("6.1.0")
    await settled(fleet, plan)
    fleet.say("first-0", "6.1.0", result="Failed")
    back = fleet.release("6.0.0")
    await settled(fleet, plan)
    assert {fleet.head(ring) for ring in RINGS} == {back}


async def test_a_repository_without_the_workload_is_refused_in_one_sentence(fleet):
    fleet.write({"apps/podinfo.yaml": None})
    with pytest.raises(Rejected, match="nothing names images of prod/podinfo"):
        await seen(fleet, rules())


async def test_two_places_need_a_path(fleet):
    fleet.write({"staging/podinfo.yaml": manifest("7.0.0")})
    with pytest.raises(Rejected, match=r"several places .* set source.path"):
        await seen(fleet, rules())
    view, _ = await seen(fleet, rules(source={"path": "apps"}))
    assert view.candidates[0].images == {"ghcr.io/acme/podinfo:6.0.0", "ghcr.io/acme/sidecar:1.0"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "fleet/clusters.yaml does not exist on main"),
        ("[", "is not YAML"),
        ("a: 1", "has no `clusters`"),
        ("clusters: {../x: {}}", "is not a name of a cluster"),
        ("clusters: {a: 5}", "a must be an object"),
    ],
)
async def test_a_broken_list_of_clusters_stops_everything_and_says_why(fleet, content, problem):
    fleet.write({"fleet/clusters.yaml": content})
    with pytest.raises((Rejected, NotFound), match=problem):
        await seen(fleet, rules())


async def test_a_cluster_in_two_rings_is_refused(fleet):
    with pytest.raises(Rejected, match="in ring first and in ring second"):
        await seen(fleet, rules(second={"clusters": ["first-0"]}))


async def test_members_come_from_names_labels_or_the_list(fleet):
    fleet.write(
        {"fleet/clusters.yaml": "clusters: {a: {}, b: {labels: {tier: gold}}, c: {ring: third}, d: {ring: third, quarantined: true}}"}
    )
    plan = rules(first={"clusters": ["a"]}, second={"selector": {"matchLabels": {"tier": "gold"}}})
    assert (await seen(fleet, plan))[0].members == {"first": ("a",), "second": ("b",), "third": ("c",)}


# ------------------------------------------------------------------------------------------------ approvals


@pytest.mark.parametrize("by", ["file", "trailer"])
async def test_a_ring_opens_after_it_was_approved_in_git(fleet, by):
    plan = rules(**BRANCH, second={"approval": "git"})
    fleet.release("6.1.0")
    fleet.all_say("first", "6.1.0")
    view, decision, _ = await settled(fleet, plan)
    assert "second" not in decision.targets
    release = view.candidates[0].release
    if by == "file":
        fleet.write({f"fleet/approvals/podinfo/{release}/second.yaml": "ticket: 5\n"})
    else:
        fleet.write({"README.md": "ok"}, message=f"Approve\n\nCanary-Approve: podinfo/{release}/second\n")
    view, _, _ = await settled(fleet, plan)
    assert view.approvals[release, "second"].by == "dev"
    assert fleet.head("second") == fleet.head("first")


async def test_what_people_wrote_and_nobody_understands_is_told(fleet):
    folder = "fleet/approvals/podinfo"
    fleet.write(
        {
            f"{folder}/x/nowhere.yaml": "",
            f"{folder}/x/bypass.yaml": "ring: nowhere",
            f"{folder}/rollback.yaml": "rings: [first]",
            f"{folder}/y/resume.yaml": "[",
        },
        message="m\n\nCanary-Approve: podinfo/x/nowhere\n",
    )
    view, _ = await seen(fleet, rules())
    assert len(view.problems) == 5
    assert (view.approvals, view.exemptions, view.rollbacks, view.resumed) == ({}, {}, {}, {})


# ---------------------------------------------------------------------------------------------- mode overlay

OVERLAY = {"mode": "overlay", "source": {"path": "rings/first"}}
BASE = {"apps/base/kustomization.yaml": "resources: [podinfo.yaml]\n", "apps/base/podinfo.yaml": manifest("0.0.0")}


def overlay(tag):
    return f"resources: [../../apps/base]\nimages:\n- name: ghcr.io/acme/podinfo\n  newTag: {tag} # of this ring\n"


@pytest.fixture
def overlays(server, tmp_path):
    return Fleet(server, tmp_path, BASE | {f"rings/{ring}/kustomization.yaml": overlay("6.0.0") for ring in RINGS}, name="overlays")


async def test_a_release_walks_from_folder_to_folder(overlays):
    plan = rules(**OVERLAY)
    overlays.write({"rings/first/kustomization.yaml": overlay("6.1.0")}, message="release")
    for ring in RINGS:
        await settled(overlays, plan)
        assert overlays.show(f"rings/{ring}/kustomization.yaml") == overlay("6.1.0").strip()
        overlays.all_say(ring, "6.1.0")
    assert overlays.git("log", "-1", "--format=%s", "main").startswith("rings(podinfo): ring third to 6.1.0-")
    await settled(overlays, plan)
    count = overlays.git("rev-list", "--count", "main")
    assert (await settled(overlays, plan))[2] == []
    assert overlays.git("rev-list", "--count", "main") == count == "4"


async def test_a_folder_that_names_something_of_its_own_is_left_alone(overlays):
    overlays.write({"rings/second/kustomization.yaml": overlay("6.0.0-hotfix"), "rings/first/kustomization.yaml": overlay("6.1.0")})
    overlays.all_say("first", "6.1.0")
    view, _, _ = await settled(overlays, rules(**OVERLAY))
    assert "hotfix" in overlays.show("rings/second/kustomization.yaml")
    assert any("ring second is left alone: it names" in problem for problem in view.problems)


async def test_a_rollback_of_folders_is_an_edit_like_any_other(overlays):
    plan = rules(**OVERLAY)
    overlays.write({"rings/first/kustomization.yaml": overlay("6.1.0")}, message="release")
    overlays.all_say("first", "6.1.0")
    view, _, _ = await settled(overlays, plan)
    assert "6.1.0" in overlays.show("rings/second/kustomization.yaml")
    overlays.write({"fleet/approvals/podinfo/rollback.yaml": f"release: {view.candidates[1].release}\nrings: [second]\n"})
    await settled(overlays, plan)
    assert overlays.show("rings/second/kustomization.yaml") == overlay("6.0.0").strip()
    assert (await settled(overlays, plan))[2] == []


# -------------------------------------------------------------------------------------------------- mode gate


@pytest.mark.parametrize("layout", ["branches", "refs", "shared"])
async def test_evidence_is_found_wherever_clusters_write(fleet, layout):
    fleet.release("6.1.0")
    fleet.say("first-0", "6.1.0", branch="canary-outcomes" if layout == "shared" else "")
    if layout == "refs":
        fleet.git("update-ref", "refs/canary/outcomes/first/first-0", "refs/heads/canary/o/first/first-0")
        fleet.git("branch", "-D", "canary/o/first/first-0")
    view, decision = await seen(fleet, rules(records={"layout": layout}))
    assert set(decision.targets) == {"first", "second"}
    assert view.problems == ()
    assert decision.moves == ()


async def test_a_poll_without_news_asks_the_server_once(fleet, server):
    mirror, memory = fleet.mirror(), Memory()
    fleet.all_say("first", "6.0.0")
    await read(mirror, rules(), memory)
    before = len(server.requests)
    await read(mirror, rules(), memory)
    assert len(server.requests) - before == 2  # the greeting and the list of refs


async def test_a_server_that_is_away_is_an_error_and_no_empty_view(fleet, server):
    server.stop()
    with pytest.raises(GitFailed):
        await seen(fleet, rules())


# ------------------------------------------------------------------------------------------ the branch of plans


async def test_the_branch_of_plans_is_fetched_only_when_it_moved_or_the_mirror_is_gone(fleet, server):
    mirror = fleet.mirror()

    async def asked():
        """The newest commit, which is here then, and how many requests that took."""
        before = len(server.requests)
        commit = await mirror.newest("main")
        await mirror.git.run("cat-file", "-e", f"{commit}^{{commit}}")
        return commit, len(server.requests) - before

    assert await mirror.newest("nowhere") is None
    first = fleet.head("main")
    commit, fetching = await asked()
    assert commit == first
    commit, listing = await asked()
    assert (commit, listing < fetching) == (first, True)
    second = fleet.write({"README.md": "y"})
    assert (await asked())[0] == second
    await mirror.drop()
    assert await asked() == (second, fetching)
    fleet.git("update-ref", "refs/heads/main", first)
    assert (await asked())[0] == first
