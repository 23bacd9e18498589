"""The fake must be as strict as the real thing where plug-ins can go wrong, or their tests prove nothing."""

import pytest

from canary.core.errors import Conflict, NotFound, Rejected, Retryable
from canary.kube.resource import CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES, Object
from tests.fakes.cluster import FakeCluster


def obj(name: str = "x", **more: object) -> Object:
    return {"metadata": {"name": name, "namespace": "test"}, **more}


@pytest.fixture
def fake() -> FakeCluster:
    return FakeCluster(watched=True)


async def test_an_existing_name_is_a_conflict(fake: FakeCluster):
    await fake.create(SERVICES, SERVICES.head("test", "x"))
    with pytest.raises(Conflict):
        await fake.create(SERVICES, SERVICES.head("test", "x"))


async def test_a_failed_test_is_a_conflict_and_changes_nothing(fake: FakeCluster):
    fake.add(SERVICES, obj(spec={"a": 1}))
    ops = [{"op": "replace", "path": "/spec/a", "value": 2}, {"op": "test", "path": "/metadata/resourceVersion", "value": "0"}]
    with pytest.raises(Conflict):
        await fake.json_patch(SERVICES, "test", "x", ops)
    assert fake.stored(SERVICES, "test", "x")["spec"] == {"a": 1}


@pytest.mark.parametrize("op", ["remove", "replace"])
async def test_a_path_that_does_not_exist_is_refused(fake: FakeCluster, op: str):
    fake.add(SERVICES, obj(spec={}))
    with pytest.raises(Rejected):
        await fake.json_patch(SERVICES, "test", "x", [{"op": op, "path": "/spec/a", "value": 1}])
    with pytest.raises(Rejected):
        await fake.json_patch(SERVICES, "test", "x", [{"op": "add", "path": "/status/a", "value": 1}])


async def test_a_stale_merge_is_a_conflict(fake: FakeCluster):
    fake.add(SERVICES, obj(spec={}))
    with pytest.raises(Conflict):
        await fake.merge(SERVICES, "test", "x", {"metadata": {"resourceVersion": "1"}, "spec": {"a": 1}})


async def test_versions_move_with_changes_and_generations_with_specs(fake: FakeCluster):
    fake.add(DEPLOYMENTS, obj(spec={"a": 1}))
    seen = []
    for patch in ({"spec": {"a": 1}}, {"metadata": {"labels": {"b": "1"}}}, {"spec": {"a": 2}}):
        meta = (await fake.merge(DEPLOYMENTS, "test", "x", patch))["metadata"]
        seen.append((meta["resourceVersion"], meta["generation"]))
    assert seen == [("101", 1), ("102", 1), ("103", 2)]


async def test_what_is_immutable_stays(fake: FakeCluster):
    fake.add(CONFIG_MAPS, obj("c", data={"a": "1"}, immutable=True))
    fake.add(SECRETS, obj("s", type="Opaque"))
    fake.add(DEPLOYMENTS, obj("d", spec={"selector": {"matchLabels": {"a": "b"}}}))
    for resource, name, patch in (
        (CONFIG_MAPS, "c", {"data": {"a": "2"}}),
        (CONFIG_MAPS, "c", {"immutable": None}),
        (SECRETS, "s", {"type": "other"}),
        (DEPLOYMENTS, "d", {"spec": {"selector": {"matchLabels": {"a": "c"}}}}),
    ):
        with pytest.raises(Rejected, match="immutable"):
            await fake.merge(resource, "test", name, patch)


async def test_two_controllers_are_refused(fake: FakeCluster):
    refs = [{"name": name, "controller": True} for name in ("a", "b")]
    with pytest.raises(Rejected, match="only one"):
        await fake.create(SERVICES, {"metadata": {"name": "x", "namespace": "test", "ownerReferences": refs}})


async def test_configs_are_seen_by_metadata_and_read_whole(fake: FakeCluster):
    fake.add(SECRETS, obj(data={"a": "eA=="}))
    assert "data" not in fake.get(SECRETS, "test", "x")
    assert (await fake.read(SECRETS, "test", "x"))["data"] == {"a": "eA=="}
    with pytest.raises(NotFound):
        await fake.read(SECRETS, "test", "y")


def test_what_is_not_watched_cannot_be_seen():
    with pytest.raises(KeyError):
        FakeCluster().get(SERVICES, "test", "x")


def test_a_change_in_place_is_noticed(fake: FakeCluster):
    fake.add(SERVICES, obj(spec={"a": 1}))
    fake.assert_untouched()
    fake.get(SERVICES, "test", "x")["spec"]["a"] = 2
    with pytest.raises(AssertionError, match="Service x was changed in place"):
        fake.assert_untouched()


async def test_apply_takes_away_what_it_names_no_more(fake: FakeCluster):
    head = SERVICES.head("test", "x")
    await fake.apply(SERVICES, {**head, "spec": {"a": 1, "b": {"c": 1, "d": 1}}})
    fake.change(SERVICES, "test", "x", {"spec": {"user": 1}})
    await fake.apply(SERVICES, {**head, "spec": {"b": {"c": 2}}})
    assert fake.stored(SERVICES, "test", "x")["spec"] == {"b": {"c": 2}, "user": 1}


async def test_a_failure_that_was_ordered_comes_once(fake: FakeCluster):
    fake.add(SERVICES, obj())
    fake.fail("merge", SERVICES, Retryable("503"))
    with pytest.raises(Retryable):
        await fake.merge(SERVICES, "test", "x", {})
    await fake.merge(SERVICES, "test", "x", {})


async def test_another_uid_is_not_deleted(fake: FakeCluster):
    fake.add(SERVICES, obj())
    with pytest.raises(Conflict):
        await fake.delete(SERVICES, "test", "x", uid="other")
    await fake.delete(SERVICES, "test", "x")
    await fake.delete(SERVICES, "test", "x")
    assert fake.names(SERVICES) == []
