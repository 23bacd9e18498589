"""When a release that was taken back is left alone: a pure function of the runs, the commits, a person's word and the time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from canary.api.canary import Canary
from canary.api.canaryrun import CanaryRun, ReleaseInfo, parse_canary_run
from canary.api.gitsink import Breaker
from canary.gitops import breaker
from canary.gitops.breaker import DAY, Past, remembered
from canary.gitops.rejections import rejection
from canary.kube.resource import CANARY_RUNS, GIT_SINKS
from tests.fakes.cluster import FakeCluster
from tests.gitops.support import BAD, BEGIN, GOOD, NAMESPACE, run, sink

NOW = (BEGIN + timedelta(hours=1)).timestamp()
DONE = [{"name": "record/fleet", "state": "Done"}, {"name": "revert/fleet", "state": "Done", "ref": "abc"}]
BY_PR = [{"name": "pr/fleet", "state": "Done", "ref": "https://forge/1"}]


def one(name: str = "r1", *, minute: float = 0, effects: Sequence[dict[str, str]] = DONE, **options: Any) -> CanaryRun:
    body = run(name, minute=minute, **options)
    body["status"]["effects"] = list(effects)
    return parse_canary_run(body)


def past(*runs: CanaryRun, now: float = NOW, forgiven: str = "", **limits: int) -> Past:
    return Past("fleet", Breaker(**limits), runs, now, forgiven)


AGAIN = one("r2", minute=5, effects=[{"name": "revert/fleet", "state": "Queued"}])
RELEASE = AGAIN.spec.release


def test_the_same_release_is_taken_back_once() -> None:
    assert past(AGAIN).against(RELEASE, but="r2") is None
    found = past(one(), AGAIN).against(RELEASE, but="r2")
    assert found is not None
    assert found.until == pytest.approx(one().status.finished_at.timestamp() + DAY)  # type: ignore[union-attr]
    assert "rejected by run r1" in found.text
    assert f"{breaker.RETRY}: r2" in found.text


def test_a_merged_pull_request_counts_as_a_push() -> None:
    assert past(one(effects=BY_PR), AGAIN).against(RELEASE, but="r2")


@pytest.mark.parametrize("state", ["Queued", "Retrying", "Blocked", "Skipped", "Waiting"])
def test_what_was_not_taken_back_does_not_count(state: str) -> None:
    first = one(effects=[{"name": "revert/fleet", "state": state}])
    assert past(first, AGAIN).against(RELEASE, but="r2") is None
    assert past(first, AGAIN).against(RELEASE, but="r2", written={"r1"}), "but a commit says so"


def test_what_another_sink_took_back_is_its_own_business() -> None:
    other = one(effects=[{"name": "revert/other", "state": "Done"}])
    assert past(other, AGAIN).against(RELEASE, but="r2") is None


@pytest.mark.parametrize(
    "release",
    [
        ReleaseInfo(images={"podinfo": "ghcr.io/acme/podinfo:6.2.0"}, template_hash="v2:new"),
        ReleaseInfo(images={"podinfo": BAD}, template_hash="v2:other"),
        ReleaseInfo(images={"podinfo": BAD}, template_hash="v2:new", config_hash="1"),
        ReleaseInfo(images={"podinfo": BAD, "sidecar": GOOD}, template_hash="v2:new"),
    ],
)
def test_a_release_that_differs_in_anything_is_another(release: ReleaseInfo) -> None:
    assert past(one()).against(RELEASE)
    assert past(one()).against(release) is None


def test_after_a_day_it_may_be_tried_again() -> None:
    first = one()
    assert first.status.finished_at
    end = first.status.finished_at.timestamp() + DAY
    assert past(first, AGAIN, now=end - 1).against(RELEASE, but="r2")
    assert past(first, AGAIN, now=end).against(RELEASE, but="r2") is None


def test_the_day_begins_with_the_commit_and_not_with_the_run() -> None:
    """Git may have been away for most of a day."""
    late = (BEGIN + timedelta(hours=20)).isoformat()
    first = one(effects=[{"name": "revert/fleet", "state": "Done", "doneAt": late}])
    assert past(first, AGAIN, now=NOW + DAY).against(RELEASE, but="r2")
    assert past(first, AGAIN, now=NOW + 2 * DAY).against(RELEASE, but="r2") is None


def test_a_person_may_name_either_run_to_try_again() -> None:
    for name in ("r1", "r2"):
        assert past(one(), AGAIN, forgiven=name).against(RELEASE, but="r2") is None
    third = one("r3", minute=9)
    assert past(one(), third, one("r4", minute=12), forgiven="r1").against(RELEASE, but="r4"), "once"
    for name in ("", "r9", "r10"):
        assert past(one(), AGAIN, forgiven=name).against(RELEASE, but="r2")


def test_a_release_that_was_promoted_since_begins_anew() -> None:
    promoted = one("r2", minute=5, outcome="Succeeded", effects=())
    assert past(one(), promoted).against(RELEASE) is None
    assert past(one(), promoted, one("r3", minute=7)).against(RELEASE), "and is rejected like any other"
    other = one("r2", minute=5, outcome="Succeeded", effects=(), images={"podinfo": GOOD})
    assert past(one(), other).against(RELEASE)


def test_the_limits_are_those_of_the_sink() -> None:
    runs = [one(f"r{number}", minute=number) for number in range(3)]
    assert past(*runs[:2], max_reverts_per_release=3).against(RELEASE) is None
    found = past(*runs, max_reverts_per_release=3).against(RELEASE)
    assert found is not None
    assert found.until == pytest.approx(runs[0].status.finished_at.timestamp() + DAY)  # type: ignore[union-attr]


def test_a_machine_that_always_sets_something_new_is_stopped_by_the_day() -> None:
    runs = [one(f"r{number}", minute=number, images={"podinfo": f"x:{number}"}) for number in range(5)]
    new = ReleaseInfo(images={"podinfo": "x:9"}, template_hash="v2:new")
    assert past(*runs[:4]).against(new) is None
    found = past(*runs).against(new)
    assert found is not None
    assert "maxRevertsPerDay" in found.text
    assert past(*runs).same(new) is None, "but it is analysed"
    assert past(*runs, max_reverts_per_day=6).against(new) is None


def test_a_thousand_retries_of_a_bot_cost_one_commit() -> None:
    runs: list[CanaryRun] = []
    for minute in range(1000):
        name = f"r{minute}"
        halted = past(*runs, now=(BEGIN + timedelta(minutes=minute)).timestamp()).against(RELEASE, but=name)
        state = {"name": "revert/fleet", "state": "Blocked" if halted else "Done"}
        runs.append(one(name, minute=minute, effects=[state]))
    assert sum(effect.state == "Done" for each in runs for effect in each.status.effects) == 1


def test_a_run_is_kept_for_as_long_as_it_counts() -> None:
    assert remembered(one(), now=NOW)
    assert not remembered(one(), now=NOW + DAY)
    assert not remembered(AGAIN, now=NOW)


def test_commits_are_looked_for_where_the_outbox_knows_of_none() -> None:
    skipped = one(effects=[{"name": "revert/fleet", "state": "Skipped", "reason": "Superseded"}])
    other = one("r0", images={"podinfo": GOOD}, effects=())
    assert past(skipped, other, AGAIN).doubtful(AGAIN) == [skipped]
    assert past(one(), AGAIN).doubtful(AGAIN) == []
    assert past(skipped, AGAIN, now=NOW + DAY).doubtful(AGAIN) == []


# ------------------------------------------------------------------------------------------------------- before a run


def canary(*, labels: dict[str, str] | None = None, **annotations: str) -> Canary:
    spec = {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"}, "service": {"port": 80}, "analysis": {}}
    notes = {f"canary.dev/{key}": value for key, value in annotations.items()}
    meta = {"name": "podinfo", "namespace": NAMESPACE, "uid": "uid-podinfo", "labels": labels or {}, "annotations": notes}
    return Canary.model_validate({"metadata": meta, "spec": spec})


@pytest.fixture
def fake() -> FakeCluster:
    fake = FakeCluster(watched=True)
    body = run("r1")
    body["status"]["effects"] = DONE
    fake.add(CANARY_RUNS, body)
    return fake


def held(fake: FakeCluster, it: Canary, release: ReleaseInfo = RELEASE) -> str:
    return rejection(fake, it, release, now=NOW)


def test_a_rejected_release_is_held_where_a_sink_takes_releases_back(fake: FakeCluster) -> None:
    assert held(fake, canary()) == "", "without a sink every revision is tried, as upstream does"
    fake.add(GIT_SINKS, sink("https://git.example/a.git"))
    assert "rejected by run r1" in held(fake, canary())
    assert held(fake, canary(retry="r1")) == ""
    assert held(fake, canary(), RELEASE.model_copy(update={"template_hash": "v2:next"})) == ""


@pytest.mark.parametrize(
    "spec",
    [
        {"onFailure": {"revert": "none"}},
        {"canaries": {"matchLabels": {"team": "a"}}},
        {"breaker": {"maxRevertsPerRelease": 2}},
        {"cluster": "!"},
    ],
)
def test_other_sinks_hold_nothing(fake: FakeCluster, spec: dict[str, Any]) -> None:
    fake.add(GIT_SINKS, sink("https://git.example/a.git", **spec))
    assert held(fake, canary(labels={"team": "b"})) == ""


def test_a_canary_of_the_same_name_has_no_past(fake: FakeCluster) -> None:
    fake.add(GIT_SINKS, sink("https://git.example/a.git"))
    other = canary()
    assert held(fake, other.model_copy(update={"metadata": other.metadata.model_copy(update={"uid": "another"})})) == ""
