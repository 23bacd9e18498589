"""CanaryRuns through crashes, late caches and interrupted runs: one object per run, closed once, with what each sink must write."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest

from canary.api.canary import Canary, parse_canary
from canary.api.canaryrun import CanaryRun, parse_canary_run
from canary.api.status import CanaryStatus
from canary.core import model
from canary.core.errors import Conflict, NotFound, Retryable
from canary.core.hashing import configs_hash
from canary.core.release import Release
from canary.engine.observe import Sight
from canary.engine.runs import KEPT, Runs
from canary.engine.tracking import TrackingCluster
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, Object
from canary.targets.registry import target as made
from tests.fakes.cluster import FakeCluster

NOW = 1_800_000_000.0
RUN = "0123456789abcdef"
OLD, NEW = {"podinfo": "podinfo:1"}, {"podinfo": "podinfo:2", "init": "setup:2"}
CHECKS = [
    {"name": "request-success-rate", "verdict": "Fail", "value": 92.5, "bound": {"min": 99}, "query": "q", "source": "prometheus"},
    {"name": "latency", "verdict": "NoData"},
]


@pytest.fixture
def fake() -> Iterator[FakeCluster]:
    fake = FakeCluster(watched=True)
    yield fake
    fake.assert_untouched()


def run_status(identity: str = RUN, **changes: Any) -> dict[str, Any]:
    started = datetime.fromtimestamp(NOW - 60, UTC).isoformat()
    return {
        "id": identity,
        "startedAt": started,
        "strategy": "canary",
        "images": NEW,
        "baselineImages": OLD,
        "maxWeightReached": 30,
        **changes,
    }


def canary(**status: Any) -> Canary:
    base = {
        "phase": "Progressing",
        "failedChecks": 5,
        "canaryWeight": 30,
        "iterations": 0,
        "lastAppliedSpec": "v2:new",
        "lastPromotedSpec": "v2:old",
        "trackedConfigs": {"configmap/a": "1"},
        "run": run_status(),
        "checks": CHECKS,
    }
    return parse_canary(
        {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "podinfo", "namespace": "prod", "uid": "uid-1", "labels": {"team": "a"}},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
                "service": {"port": 80},
                "analysis": {"interval": "10s", "threshold": 5, "stepWeight": 10, "maxWeight": 50},
            },
            "status": base | status,
        }
    )


def workload(revision: str, images: dict[str, str]) -> model.Workload:
    return model.Workload("w", revision, 1, 1, model.Readiness.READY, images=MappingProxyType(images))


def sight(
    fake: FakeCluster, of: Canary | None = None, *, target: str = "v2:new", primary: model.Workload | model.Unknown | None = None
) -> Sight:
    one = of or canary()
    snapshot = model.Snapshot(
        canary=one,
        now=NOW,
        provider="istio",
        target=workload(target, {"podinfo": "podinfo:3"}),
        primary=primary or workload("v2:primary", OLD),
        configs=None,
        routes=None,
    )
    release = Release(one, "istio", "app", "podinfo")
    return Sight(one, snapshot, release, None, made(one.spec.target_ref), {}, TrackingCluster(fake))  # type: ignore[arg-type]


def sink(name: str = "fleet", namespace: str = "prod", **spec: Any) -> Object:
    return {**GIT_SINKS.head(namespace, name), "spec": {"repository": {"url": "https://git/fleet"}, "cluster": "c1", **spec}}


def stored(fake: FakeCluster, name: str = RUN) -> CanaryRun:
    return parse_canary_run(fake.stored(CANARY_RUNS, "prod", name))


async def close(fake: FakeCluster, seen: Sight, *, outcome: str = "Failed", status: CanaryStatus | None = None) -> None:
    await Runs(fake).close(seen, status or seen.canary.status, outcome=outcome, reason="because")


# ------------------------------------------------------------------------------------------------------- opening


async def test_a_run_is_described_by_the_revision_that_was_accepted(fake: FakeCluster) -> None:
    seen = sight(fake, target="v2:newer")  # the target has moved on since
    await Runs(fake).open(seen, seen.canary.status)
    run = stored(fake)
    assert run.spec.release.images == NEW
    assert run.spec.release.template_hash == "v2:new"
    assert run.spec.release.config_hash == configs_hash({"configmap/a": "1"})
    assert run.spec.previous is not None
    assert run.spec.previous.images == OLD
    assert run.spec.previous.template_hash == "v2:old"
    assert run.spec.started_at == datetime.fromtimestamp(NOW - 60, UTC)
    body = fake.stored(CANARY_RUNS, "prod", RUN)
    assert body["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert body["metadata"]["labels"] == {"canary.dev/canary": "podinfo"}


async def test_opening_twice_makes_one_run_also_when_the_cache_is_late(fake: FakeCluster) -> None:
    seen = sight(fake)
    fake.lag(CANARY_RUNS, "prod", RUN)
    for _ in range(2):
        await Runs(fake).open(seen, seen.canary.status)
    fake.catch_up()
    before = len(fake.requests)
    await Runs(fake).open(seen, seen.canary.status)
    assert fake.names(CANARY_RUNS) == [RUN]
    assert len(fake.requests) == before


async def test_a_run_that_is_interrupted_in_its_first_tick_opens_no_run_of_the_next_one(fake: FakeCluster) -> None:
    seen = sight(fake, target="v2:newer")
    next_status = seen.canary.status.model_copy(
        update={
            "run": seen.canary.status.run.model_copy(update={"id": "f" * 16}),
            "checks": (),
            "failed_checks": 0,
            "last_applied_spec": "v2:newer",
        }  # type: ignore[union-attr]
    )
    await Runs(fake).open(seen, next_status)
    await close(fake, seen, outcome="Canceled", status=next_status)
    assert fake.names(CANARY_RUNS) == [RUN]
    run = stored(fake)
    assert run.spec.release.template_hash == "v2:new"
    assert (run.status.outcome, run.status.failed_checks, run.status.max_weight_reached) == ("canceled", 5, 30)
    assert [check.name for check in run.status.checks] == ["request-success-rate", "latency"]


async def test_a_name_too_long_for_a_label_is_no_obstacle(fake: FakeCluster) -> None:
    one = canary()
    one = one.model_copy(update={"metadata": one.metadata.model_copy(update={"name": "p" * 64})})
    await Runs(fake).open(sight(fake, one), one.status)
    assert "labels" not in fake.stored(CANARY_RUNS, "prod", RUN)["metadata"]


@pytest.mark.parametrize("primary", [model.Unknown("NotFound", "x"), workload("v2:p", {"podinfo": "podinfo:0"})])
async def test_what_ran_before_is_what_the_status_remembers(fake: FakeCluster, primary: model.Workload | model.Unknown) -> None:
    await Runs(fake).open(sight(fake, primary=primary), canary().status)
    previous = stored(fake).spec.previous
    assert previous is not None
    assert previous.images == OLD


async def test_a_first_release_has_nothing_before_it(fake: FakeCluster) -> None:
    one = canary(run=run_status(baselineImages={}), lastPromotedSpec="")
    await Runs(fake).open(sight(fake, one, primary=model.Unknown("NotFound", "x")), one.status)
    assert stored(fake).spec.previous is None


# ------------------------------------------------------------------------------------------------------- closing


async def test_closing_writes_the_evidence_once(fake: FakeCluster) -> None:
    fake.add(GIT_SINKS, sink())
    seen = sight(fake)
    await Runs(fake).open(seen, seen.canary.status)
    await close(fake, seen)
    run = stored(fake)
    assert (run.status.outcome, run.status.reason) == ("failed", "because")
    assert run.status.finished_at == datetime.fromtimestamp(NOW, UTC)
    first, second = run.status.checks
    assert (first.name, first.last, first.failed, first.query, first.source) == ("request-success-rate", 92.5, 1, "q", "prometheus")
    assert (second.no_data, second.failed, second.last) == (1, 0, None)
    fake.change(CANARY_RUNS, "prod", RUN, {"status": {"effects": [{"name": "record/fleet", "state": "Done"}]}})
    written = len(fake.writes)
    await close(fake, seen, outcome="Succeeded")
    assert len(fake.writes) == written
    assert stored(fake).status.outcome == "failed"
    assert stored(fake).status.effects[0].state.final


async def test_a_run_that_was_never_opened_is_opened_and_closed(fake: FakeCluster) -> None:
    await close(fake, sight(fake))
    assert stored(fake).status.outcome == "failed"


async def test_a_crash_between_any_two_requests_ends_with_one_closed_run(fake: FakeCluster) -> None:
    fake.add(GIT_SINKS, sink())
    for verb in ("create", "read", "merge", "delete"):
        fake.fail(verb, CANARY_RUNS, Retryable("the process died here"))
    seen = sight(fake)
    for _ in range(6):
        try:
            await close(fake, seen)
        except Retryable:
            continue
    assert fake.names(CANARY_RUNS) == [RUN]
    assert [effect.name for effect in stored(fake).status.effects] == ["record/fleet", "revert/fleet", "amend/fleet"]


async def test_a_cache_that_is_late_never_closes_over_a_closed_run(fake: FakeCluster) -> None:
    seen = sight(fake)
    await Runs(fake).open(seen, seen.canary.status)
    fake.lag(CANARY_RUNS, "prod", RUN)
    await close(fake, seen)
    with pytest.raises(Conflict):
        await close(fake, seen, outcome="Succeeded")
    assert stored(fake).status.outcome == "failed"


async def test_a_run_that_vanished_while_it_was_closed_ends_the_tick_and_is_made_again(fake: FakeCluster) -> None:
    seen = sight(fake)
    await Runs(fake).open(seen, seen.canary.status)
    fake.fail("merge", CANARY_RUNS, NotFound("gone"))
    with pytest.raises(Conflict):
        await close(fake, seen)
    fake.remove(CANARY_RUNS, "prod", RUN)
    await close(fake, seen)
    assert stored(fake).status.outcome == "failed"


# ------------------------------------------------------------------------------------------------------- effects


@pytest.mark.parametrize(
    ("spec", "outcome", "effects"),
    [
        ({}, "Failed", ["record/fleet", "revert/fleet", "amend/fleet"]),
        ({}, "Succeeded", ["record/fleet"]),
        ({}, "Canceled", ["record/fleet"]),
        ({"onFailure": {"revert": "none"}}, "Failed", ["record/fleet"]),
        ({"records": {"target": "none"}}, "Failed", ["revert/fleet"]),
        ({"records": {"target": "none"}}, "Succeeded", []),
        ({"canaries": {"matchLabels": {"team": "a"}}}, "Succeeded", ["record/fleet"]),
        ({"canaries": {"matchLabels": {"team": "b"}}}, "Failed", []),
        ({"suspend": True}, "Failed", ["record/fleet", "revert/fleet", "amend/fleet"]),
        ({"cluster": "NOT A NAME"}, "Failed", ["record/fleet", "revert/fleet", "amend/fleet"]),
        ({"cluster": "NOT A NAME"}, "Succeeded", ["record/fleet"]),
    ],
)
async def test_each_sink_gets_what_it_asks_for(fake: FakeCluster, spec: dict[str, Any], outcome: str, effects: list[str]) -> None:
    fake.add(GIT_SINKS, sink(**spec))
    fake.add(GIT_SINKS, sink("elsewhere", "other"))
    await close(fake, sight(fake), outcome=outcome)
    run = stored(fake)
    assert [effect.name for effect in run.status.effects] == effects
    assert all(effect.state == "Queued" for effect in run.status.effects)


async def test_all_sinks_of_the_namespace_get_theirs(fake: FakeCluster) -> None:
    for name in ("fleet", "audit"):
        fake.add(GIT_SINKS, sink(name))
    await close(fake, sight(fake), outcome="Succeeded")
    assert {effect.name for effect in stored(fake).status.effects} == {"record/fleet", "record/audit"}


# ------------------------------------------------------------------------------------------------------- pruning


def old_run(number: int, *, state: str = "Done", phase: str = "Succeeded", uid: str = "uid-1") -> Object:
    at = datetime.fromtimestamp(NOW, UTC) - timedelta(days=100 - number)
    return {
        **CANARY_RUNS.head("prod", f"old-{number:02}"),
        "spec": {
            "canaryRef": {"name": "podinfo", "uid": uid},
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "startedAt": at.isoformat(),
            "release": {},
        },
        "status": {"phase": phase, "effects": [{"name": "record/fleet", "state": state}]},
    }


async def test_only_the_newest_runs_are_kept_and_those_that_git_waits_for(fake: FakeCluster) -> None:
    for number in range(15):
        fake.add(CANARY_RUNS, old_run(number, state="Blocked" if number == 3 else "Done"))
    fake.add(CANARY_RUNS, old_run(90, uid="another"))
    broken = old_run(91)
    del broken["spec"]["target"]
    fake.add(CANARY_RUNS, broken)
    await close(fake, sight(fake))
    kept = set(fake.names(CANARY_RUNS))
    mine = kept - {"old-90", "old-91"}
    assert {"old-90", "old-91", "old-03", RUN} <= kept
    assert len(mine) == KEPT
    assert mine - {"old-03", RUN} == {f"old-{number:02}" for number in range(7, 15)}


async def test_a_run_that_was_lost_with_its_status_is_pruned_like_the_others(fake: FakeCluster) -> None:
    for number in range(KEPT + 2):
        fake.add(CANARY_RUNS, old_run(number, phase="Running" if number == 0 else "Failed"))
    await close(fake, sight(fake))
    assert "old-00" not in fake.names(CANARY_RUNS)
    assert RUN in fake.names(CANARY_RUNS)


async def test_housekeeping_that_fails_does_not_fail_the_tick(fake: FakeCluster) -> None:
    for number in range(15):
        fake.add(CANARY_RUNS, old_run(number))
    fake.fail("delete", CANARY_RUNS, Retryable("the API server is away"))
    await close(fake, sight(fake))
    assert stored(fake).status.outcome == "failed"
    assert len(fake.names(CANARY_RUNS)) == 16
