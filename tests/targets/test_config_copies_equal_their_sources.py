"""U10, U29, Q16: the primary's copies hold what was analysed, belong to their canaries, and cost nothing when they are right."""

import pytest

from canary.core.errors import Conflict
from canary.core.release import Release
from canary.kube.resource import CONFIG_MAPS, SECRETS, Object
from canary.targets.config_copies import sync_copies
from canary.targets.config_tracker import ConfigTracker, checksum
from tests.fakes.cluster import FakeCluster
from tests.targets.podinfo import canary, config_map, release, secret


@pytest.fixture
def tracker() -> ConfigTracker:
    return ConfigTracker()


async def sync(fake: FakeCluster, tracker: ConfigTracker, *names: str, of: Release | None = None) -> None:
    """Copy these objects, which are as they were analysed."""
    configs = {}
    for key in names:
        print_ = await tracker.fingerprint(fake, "test", key)
        assert print_
        configs[key] = print_.checksum
    await sync_copies(fake, of or release(), tracker, configs=configs)


def content(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in {"apiVersion", "kind", "metadata"}}


async def test_a_copy_is_created_with_labels_by_prefix_and_this_canary_as_controller(fake: FakeCluster, tracker: ConfigTracker):
    meta = {"labels": {"app.kubernetes.io/name": "x", "team": "y"}, "annotations": {"a": "b"}}
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}, binaryData={"logo": "AAA="}, metadata=meta))
    of = release(include_label_prefixes=("app.kubernetes.io",))
    await sync(fake, tracker, "configmap/c", of=of)
    made = fake.stored(CONFIG_MAPS, "test", "c-primary")
    assert content(made) == {"data": {"color": "red"}, "binaryData": {"logo": "AAA="}}
    assert made["metadata"]["labels"] == {"app.kubernetes.io/name": "x"}
    assert "annotations" not in made["metadata"]
    assert made["metadata"]["ownerReferences"] == [of.owner_reference]


async def test_a_secret_keeps_its_type(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(SECRETS, secret("s", {"tls.key": "eA=="}, type="kubernetes.io/tls"))
    await sync(fake, tracker, "secret/s")
    assert content(fake.stored(SECRETS, "test", "s-primary")) == {"data": {"tls.key": "eA=="}, "type": "kubernetes.io/tls"}


async def test_a_change_replaces_the_content_whole(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red", "gone": "soon"}, binaryData={"logo": "AAA="}))
    await sync(fake, tracker, "configmap/c")
    fake.change(CONFIG_MAPS, "test", "c", {"data": {"color": "blue", "gone": None}, "binaryData": None})
    await sync(fake, tracker, "configmap/c")
    assert content(fake.stored(CONFIG_MAPS, "test", "c-primary")) == {"data": {"color": "blue"}}


async def test_content_may_move_between_data_and_binary_data(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    await sync(fake, tracker, "configmap/c")
    fake.change(CONFIG_MAPS, "test", "c", {"data": None, "binaryData": {"color": "cmVk"}})
    await sync(fake, tracker, "configmap/c")
    assert content(fake.stored(CONFIG_MAPS, "test", "c-primary")) == {"binaryData": {"color": "cmVk"}}


async def test_a_copy_that_is_right_costs_no_request(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    await sync(fake, tracker, "configmap/c")
    fake.requests.clear()
    await sync(fake, tracker, "configmap/c")
    assert fake.requests == []


async def test_after_a_restart_a_copy_that_is_right_is_read_but_not_written(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    await sync(fake, tracker, "configmap/c")
    fake.requests.clear()
    await sync(fake, ConfigTracker(), "configmap/c")
    assert fake.writes == []
    assert fake.requests == [("read", "configmaps", "c"), ("read", "configmaps", "c-primary")]


async def test_a_copy_that_somebody_edited_is_mended(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    await sync(fake, tracker, "configmap/c")
    fake.change(CONFIG_MAPS, "test", "c-primary", {"data": {"color": "green", "extra": "1"}, "metadata": {"annotations": {"mine": "1"}}})
    await sync(fake, tracker, "configmap/c")
    mended = fake.stored(CONFIG_MAPS, "test", "c-primary")
    assert mended["data"] == {"color": "red"}
    assert mended["metadata"]["annotations"] == {"mine": "1"}


async def test_a_source_that_changed_after_the_analysis_is_not_copied_and_nor_is_any_other(fake: FakeCluster, tracker: ConfigTracker):
    for name in ("a", "b"):
        fake.add(CONFIG_MAPS, config_map(name, {"color": "red"}))
    analysed = {f"configmap/{name}": checksum({"data": {"color": "red"}}) for name in ("a", "b")}
    fake.change(CONFIG_MAPS, "test", "b", {"data": {"color": "bad"}})
    with pytest.raises(Conflict, match="configmap/b in namespace test has changed"):
        await sync_copies(fake, release(), tracker, configs=analysed)
    assert fake.writes == []


async def test_a_change_that_the_watch_has_not_shown_yet_is_not_copied_either(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    print_ = await tracker.fingerprint(fake, "test", "configmap/c")
    fake.lag(CONFIG_MAPS, "test", "c")
    fake.change(CONFIG_MAPS, "test", "c", {"data": {"color": "bad"}})
    with pytest.raises(Conflict):
        await sync_copies(fake, release(), tracker, configs={"configmap/c": print_.checksum})
    assert fake.names(CONFIG_MAPS) == ["c"]


async def test_a_source_that_is_gone_is_a_conflict(fake: FakeCluster, tracker: ConfigTracker):
    with pytest.raises(Conflict):
        await sync_copies(fake, release(), tracker, configs={"configmap/c": "x"})


async def test_a_copy_that_is_as_analysed_does_not_hide_a_source_that_is_not(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    await sync(fake, tracker, "configmap/c")
    fake.change(CONFIG_MAPS, "test", "c", {"data": {"color": "bad"}})
    with pytest.raises(Conflict):
        await sync_copies(fake, release(), tracker, configs={"configmap/c": checksum({"data": {"color": "red"}})})


async def test_a_copy_changed_by_somebody_else_meanwhile_is_a_conflict(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    await sync(fake, tracker, "configmap/c")
    fake.change(CONFIG_MAPS, "test", "c", {"data": {"color": "blue"}})
    fake.lag(CONFIG_MAPS, "test", "c-primary")
    fake.change(CONFIG_MAPS, "test", "c-primary", {"metadata": {"labels": {"x": "y"}}})
    with pytest.raises(Conflict):
        await sync(fake, tracker, "configmap/c")


# ------------------------------------------------------------------------------------- immutable, and retyped


async def test_an_immutable_source_makes_an_immutable_copy(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    await sync(fake, tracker, "configmap/c")
    fake.change(CONFIG_MAPS, "test", "c", {"immutable": True})
    await sync(fake, tracker, "configmap/c")
    assert fake.stored(CONFIG_MAPS, "test", "c-primary")["immutable"] is True
    assert fake.writes[-1][0] == "json_patch"


async def test_a_copy_is_immutable_from_its_creation(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}, immutable=True))
    await sync(fake, tracker, "configmap/c")
    assert fake.writes == [("create", "configmaps", "c-primary")]
    assert fake.stored(CONFIG_MAPS, "test", "c-primary")["immutable"] is True


async def test_a_copy_of_a_source_that_is_no_longer_immutable_is_replaced(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}, immutable=True))
    await sync(fake, tracker, "configmap/c")
    fake.remove(CONFIG_MAPS, "test", "c")
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    await sync(fake, tracker, "configmap/c")
    assert "immutable" not in fake.stored(CONFIG_MAPS, "test", "c-primary")


@pytest.mark.parametrize("again", [{"immutable": True}, {}])
async def test_an_immutable_copy_is_replaced_when_its_source_was_recreated(fake: FakeCluster, tracker: ConfigTracker, again: Object):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}, immutable=True))
    await sync(fake, tracker, "configmap/c")
    fake.remove(CONFIG_MAPS, "test", "c")
    fake.add(CONFIG_MAPS, config_map("c", {"color": "blue"}, **again))
    await sync(fake, tracker, "configmap/c")
    assert content(fake.stored(CONFIG_MAPS, "test", "c-primary")) == {"data": {"color": "blue"}, **again}


async def test_a_secret_that_was_recreated_with_another_type_replaces_its_copy(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(SECRETS, secret("s", {"a": "eA=="}))
    await sync(fake, tracker, "secret/s")
    fake.remove(SECRETS, "test", "s")
    fake.add(SECRETS, secret("s", {"a": "eA=="}, type="kubernetes.io/tls"))
    await sync(fake, tracker, "secret/s")
    assert fake.stored(SECRETS, "test", "s-primary")["type"] == "kubernetes.io/tls"


# -------------------------------------------------------------------------------------------------- ownership


def owners(fake: FakeCluster) -> list[tuple[str, bool]]:
    refs = fake.stored(CONFIG_MAPS, "test", "c-primary")["metadata"]["ownerReferences"]
    return [(ref["name"], ref["controller"]) for ref in refs]


async def test_a_config_shared_by_two_canaries_is_owned_by_both(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    one, two = (release(of=canary(name=name, uid=f"uid-{name}")) for name in ("one", "two"))
    await sync(fake, tracker, "configmap/c", of=one)
    await sync(fake, tracker, "configmap/c", of=two)
    assert owners(fake) == [("two", True), ("one", False)]
    writes = len(fake.writes)
    await sync(fake, tracker, "configmap/c", of=one)  # already an owner: nothing to take back and forth
    assert len(fake.writes) == writes
    fake.change(CONFIG_MAPS, "test", "c", {"data": {"color": "blue"}})
    await sync(fake, tracker, "configmap/c", of=one)
    assert owners(fake) == [("two", True), ("one", False)]


async def test_a_copy_of_a_canary_that_was_recreated_gets_the_new_owner_only(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    await sync(fake, tracker, "configmap/c", of=release(of=canary(uid="old")))
    await sync(fake, tracker, "configmap/c", of=release(of=canary(uid="new")))
    refs = fake.stored(CONFIG_MAPS, "test", "c-primary")["metadata"]["ownerReferences"]
    assert [ref["uid"] for ref in refs] == ["new"]


async def test_a_replaced_copy_keeps_its_other_owners(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}, immutable=True))
    one, two = (release(of=canary(name=name, uid=f"uid-{name}")) for name in ("one", "two"))
    await sync(fake, tracker, "configmap/c", of=one)
    await sync(fake, tracker, "configmap/c", of=two)
    fake.remove(CONFIG_MAPS, "test", "c")
    fake.add(CONFIG_MAPS, config_map("c", {"color": "blue"}))
    await sync(fake, tracker, "configmap/c", of=two)
    assert owners(fake) == [("two", True), ("one", False)]
