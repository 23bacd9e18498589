"""Read-your-writes: the cache shows what we wrote although the watch is late, and tells subscribers once."""

import asyncio

import pytest

from canary.core.errors import Conflict
from canary.kube.cluster import Cluster
from canary.kube.resource import CONFIG_MAPS, SERVICES
from canary.sandbox.faults import Drop
from tests.kube.conftest import eventually


@pytest.fixture
async def late(sandbox, watched):
    """A cluster whose watch is held back until `late.set()`."""
    await watched.watch(SERVICES, CONFIG_MAPS)
    held = asyncio.Event()

    async def hold(call):
        if call.verb == "watch":
            await held.wait()

    await eventually(lambda: watched.age(SERVICES) == watched.age(CONFIG_MAPS) == 0)
    sandbox.hook = hold
    sandbox.break_watches()
    await eventually(lambda: watched.age(SERVICES) > 0 and watched.age(CONFIG_MAPS) > 0)
    return held


@pytest.fixture
def told(watched):
    heard = []
    watched.on_change(
        lambda resource, kind, body, old: heard.append(
            (kind, body["metadata"]["resourceVersion"], old and old["metadata"]["resourceVersion"])
        )
    )
    return heard


def service(name="a", port=80):
    body = SERVICES.head("shop", name)
    body["spec"] = {"selector": {"app": name}, "ports": [{"name": f"p{port}", "port": port}]}
    return body


def test_the_watched_cluster_is_a_cluster(watched):
    def takes(_: Cluster) -> None: ...

    takes(watched)
    for name in ("watch", "get", "list", "read", "create", "apply", "merge", "json_patch", "delete"):
        assert callable(getattr(watched, name))


async def test_each_write_is_in_the_cache_before_the_watch_knows_and_is_told_once_when_it_does(watched, late, told):
    created = await watched.create(SERVICES, service())
    assert watched.get(SERVICES, "shop", "a")["spec"]["ports"][0]["port"] == 80
    await watched.apply(SERVICES, service(port=81))
    ports = {one["port"] for one in watched.get(SERVICES, "shop", "a")["spec"]["ports"]}
    assert 81 in ports
    await watched.merge(SERVICES, "shop", "a", {"metadata": {"labels": {"x": "1"}}})
    assert watched.get(SERVICES, "shop", "a")["metadata"]["labels"] == {"x": "1"}
    last = await watched.json_patch(SERVICES, "shop", "a", [{"op": "add", "path": "/metadata/labels/y", "value": "2"}])
    assert watched.get(SERVICES, "shop", "a")["metadata"]["labels"] == {"x": "1", "y": "2"}
    assert told == []
    late.set()
    await eventually(lambda: told)
    await asyncio.sleep(0.1)
    assert told == [("ADDED", last["metadata"]["resourceVersion"], None)], "the steps in between are history"
    assert created["metadata"]["resourceVersion"] != last["metadata"]["resourceVersion"]


async def test_our_deletion_is_gone_at_once_and_stays_gone_through_late_news(sandbox, watched, late, told):
    sandbox.cluster.create("v1", "ConfigMap", {"metadata": {"name": "b"}}, namespace="shop")
    late.set()
    await eventually(lambda: watched.get(CONFIG_MAPS, "shop", "b"))
    late.clear()
    sandbox.break_watches()
    await eventually(lambda: watched.age(CONFIG_MAPS) > 0)
    sandbox.cluster.patch("v1", "ConfigMap", "b", {"metadata": {"labels": {"late": "news"}}}, namespace="shop")
    await watched.delete(CONFIG_MAPS, "shop", "b")
    assert watched.get(CONFIG_MAPS, "shop", "b") is None
    before = len(told)
    seen = []
    watched.on_change(lambda *_: seen.append(watched.get(CONFIG_MAPS, "shop", "b")))
    late.set()
    await eventually(lambda: len(told) > before)
    await asyncio.sleep(0.1)
    assert [kind for kind, _, _ in told[before:]] == ["DELETED"]
    assert seen == [None]


async def test_deleting_what_a_finalizer_holds_keeps_it_readable_as_terminating(watched, late):
    body = CONFIG_MAPS.head("shop", "held")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await watched.create(CONFIG_MAPS, body)
    await watched.delete(CONFIG_MAPS, "shop", "held")
    assert watched.get(CONFIG_MAPS, "shop", "held")["metadata"]["deletionTimestamp"]
    await watched.merge(CONFIG_MAPS, "shop", "held", {"metadata": {"finalizers": None}})
    late.set()
    await eventually(lambda: watched.get(CONFIG_MAPS, "shop", "held") is None)


async def test_deleting_and_creating_again_shows_the_successor(watched, late, told):
    first = await watched.create(SERVICES, service())
    await watched.delete(SERVICES, "shop", "a", uid=first["metadata"]["uid"])
    assert watched.get(SERVICES, "shop", "a") is None
    second = await watched.create(SERVICES, service(port=90))
    assert watched.get(SERVICES, "shop", "a")["metadata"]["uid"] == second["metadata"]["uid"]
    late.set()
    await eventually(lambda: told)
    await asyncio.sleep(0.1)
    assert watched.get(SERVICES, "shop", "a")["metadata"]["uid"] == second["metadata"]["uid"]


async def test_deleting_what_is_gone_is_fine_and_what_has_another_uid_is_a_conflict(watched, late):
    await watched.delete(SERVICES, "shop", "never")
    await watched.create(SERVICES, service())
    with pytest.raises(Conflict):
        await watched.delete(SERVICES, "shop", "a", uid="another")
    assert watched.get(SERVICES, "shop", "a")


async def test_a_write_whose_answer_is_lost_shows_when_the_watch_brings_it(sandbox, watched):
    await watched.watch(SERVICES)

    async def lose(call):
        if call.verb != "watch":
            return Drop(after_effect=True)

    sandbox.hook = lose
    with pytest.raises(Exception, match="cannot create services shop/a"):
        await watched.create(SERVICES, service())
    await eventually(lambda: watched.get(SERVICES, "shop", "a"))


async def test_a_stale_compare_and_set_is_a_conflict_and_changes_nothing(sandbox, watched):
    await watched.watch(SERVICES)
    old = await watched.create(SERVICES, service())
    version = old["metadata"]["resourceVersion"]
    await watched.merge(SERVICES, "shop", "a", {"metadata": {"resourceVersion": version, "labels": {"n": "1"}}})
    with pytest.raises(Conflict):
        await watched.merge(SERVICES, "shop", "a", {"metadata": {"resourceVersion": version, "labels": {"n": "2"}}})
    ops = [{"op": "test", "path": "/metadata/resourceVersion", "value": version}, {"op": "add", "path": "/metadata/labels/n", "value": "3"}]
    with pytest.raises(Conflict):
        await watched.json_patch(SERVICES, "shop", "a", ops)
    with pytest.raises(Conflict):
        await watched.create(SERVICES, service())
    assert watched.get(SERVICES, "shop", "a")["metadata"]["labels"] == {"n": "1"}


async def test_news_that_overtake_the_answer_of_a_write_win(sandbox, watched):
    """The write's answer is slow; meanwhile somebody deletes the object, and the watch tells."""
    await watched.watch(SERVICES)
    put = watched._wrote
    answers = []
    watched._wrote = lambda resource, answer: answers.append((resource, answer)) or answer
    await watched.create(SERVICES, service())
    sandbox.cluster.delete("v1", "Service", "a", namespace="shop")
    sandbox.cluster.create("v1", "Service", {"metadata": {"name": "marker"}, "spec": {"ports": [{"port": 1}]}}, namespace="shop")
    await eventually(lambda: watched.get(SERVICES, "shop", "marker"))
    for late_answer in answers:
        put(*late_answer)
    assert watched.get(SERVICES, "shop", "a") is None
