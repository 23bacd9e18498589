"""Reflectors against a real API's rules: disconnects, expired versions, dead streams, missing kinds, refusals."""

import asyncio
import logging

import pytest

from canary.core.errors import Forbidden, NotFound, Rejected, Retryable
from canary.kube.client import Page, WatchEvent
from canary.kube.reflector import Reflector
from canary.kube.resource import CONFIG_MAPS, DEPLOYMENTS, HTTP_PROXIES, NAMESPACES, SECRETS, SERVICES
from canary.kube.store import Store
from canary.kube.transport import Timeouts
from canary.sandbox.errors import ApiError
from tests.kube.conftest import eventually

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "httpproxies.projectcontour.io"},
    "spec": {
        "group": "projectcontour.io",
        "scope": "Namespaced",
        "names": {"plural": "httpproxies", "singular": "httpproxy", "kind": "HTTPProxy", "listKind": "HTTPProxyList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def put(sandbox, name, namespace="shop", **data):
    return sandbox.cluster.create("v1", "ConfigMap", {"metadata": {"name": name}, "data": data}, namespace=namespace)


def touch(sandbox, name, value):
    return sandbox.cluster.patch("v1", "ConfigMap", name, {"metadata": {"labels": {"v": value}}}, namespace="shop")


def label(cluster, name):
    found = cluster.get(CONFIG_MAPS, "shop", name)
    return found and found["metadata"].get("labels", {}).get("v")


def record(cluster):
    told = []
    cluster.on_change(lambda resource, kind, body, old: told.append((kind, body["metadata"]["name"])))
    return told


async def test_reads_cost_nothing_and_follow_the_cluster(sandbox, watched):
    put(sandbox, "a")
    await watched.watch(CONFIG_MAPS)
    await watched.watch(CONFIG_MAPS)
    put(sandbox, "b")
    touch(sandbox, "a", "1")
    await eventually(lambda: watched.get(CONFIG_MAPS, "shop", "b") and label(watched, "a") == "1")
    sandbox.cluster.delete("v1", "ConfigMap", "a", namespace="shop")
    await eventually(lambda: watched.get(CONFIG_MAPS, "shop", "a") is None)
    assert [body["metadata"]["name"] for body in watched.list(CONFIG_MAPS, "shop")] == ["b"]
    assert watched.client.requests.counts == {("list", "configmaps", "200"): 1, ("watch", "configmaps", "200"): 1}


async def test_a_kind_that_nobody_watches_is_an_error_of_the_program(watched):
    with pytest.raises(KeyError, match=r"services is not watched"):
        watched.get(SERVICES, "shop", "a")
    assert watched.age(SERVICES) == float("inf")


async def test_a_watch_that_ends_is_resumed_where_it_was_without_a_new_list(sandbox, watched):
    await watched.watch(CONFIG_MAPS)
    told = record(watched)
    for number in range(5):
        await eventually(lambda: watched.age(CONFIG_MAPS) == 0)
        assert sandbox.break_watches() == 1
        put(sandbox, f"c{number}")
        await eventually(lambda: watched.get(CONFIG_MAPS, "shop", f"c{number}"))
    assert told == [("ADDED", f"c{number}") for number in range(5)], "nothing lost, nothing twice"
    assert watched.client.requests.total(verb="list") == 1


async def test_after_compaction_the_list_is_taken_anew_and_what_vanished_is_told(sandbox, watched):
    for name in ("stays", "changes", "goes"):
        put(sandbox, name)
    await watched.watch(CONFIG_MAPS)
    told = record(watched)
    held = asyncio.Event()

    async def hold(call):
        if call.verb == "watch":
            await held.wait()

    sandbox.hook = hold
    sandbox.break_watches()
    await eventually(lambda: watched.age(CONFIG_MAPS) > 0)
    sandbox.cluster.delete("v1", "ConfigMap", "goes", namespace="shop")
    touch(sandbox, "changes", "1")
    put(sandbox, "comes")
    sandbox.compact()
    assert watched.get(CONFIG_MAPS, "shop", "goes"), "stale, but readable"
    held.set()
    await eventually(lambda: watched.get(CONFIG_MAPS, "shop", "comes"))
    assert sorted(told) == [("ADDED", "comes"), ("DELETED", "goes"), ("MODIFIED", "changes")]
    assert watched.get(CONFIG_MAPS, "shop", "goes") is None
    await eventually(lambda: watched.age(CONFIG_MAPS) == 0)


async def test_age_grows_while_the_watch_is_down_and_reads_go_on(sandbox, watched):
    put(sandbox, "a")
    await watched.watch(CONFIG_MAPS)
    await eventually(lambda: watched.age(CONFIG_MAPS) == 0)

    async def down(call):
        return ApiError(503, "ServiceUnavailable", "down")

    sandbox.hook = down
    sandbox.break_watches()
    await eventually(lambda: watched.age(CONFIG_MAPS) > 0.2)
    assert watched.get(CONFIG_MAPS, "shop", "a")
    await watched.watch(CONFIG_MAPS)  # a cache that was complete once is good enough for now
    sandbox.hook = None
    await eventually(lambda: watched.age(CONFIG_MAPS) == 0)


async def test_a_stream_that_dies_silently_is_replaced_and_bookmarks_keep_a_quiet_one(sandbox, cluster_for):
    sandbox._tuning.bookmark_interval = 0.1
    quiet = cluster_for(timeouts=Timeouts(silence=0.4))
    await quiet.watch(CONFIG_MAPS)
    await asyncio.sleep(1.0)
    assert quiet.client.requests.total(verb="watch") == 1
    sandbox._tuning.bookmark_interval = 60
    sandbox.break_watches()
    await eventually(lambda: quiet.client.requests.total(verb="watch") >= 3)
    put(sandbox, "a")
    await eventually(lambda: quiet.get(CONFIG_MAPS, "shop", "a"))
    assert quiet.client.requests.total(verb="list") == 1


async def test_a_missing_kind_is_named_and_picked_up_once_it_is_installed(sandbox, watched):
    with pytest.raises(NotFound) as caught:
        await watched.watch(HTTP_PROXIES)
    assert "httpproxies.projectcontour.io in version v1" in caught.value.message
    assert "CustomResourceDefinition httpproxies.projectcontour.io" in caught.value.hint
    with pytest.raises(KeyError):
        watched.get(HTTP_PROXIES, "shop", "a")
    sandbox.cluster.create("apiextensions.k8s.io/v1", "CustomResourceDefinition", CRD)
    await eventually(lambda: HTTP_PROXIES in watched.ages())
    await watched.watch(HTTP_PROXIES)
    sandbox.cluster.create("projectcontour.io/v1", "HTTPProxy", {"metadata": {"name": "a"}}, namespace="shop")
    await eventually(lambda: watched.get(HTTP_PROXIES, "shop", "a"))


async def test_a_kind_that_is_removed_and_comes_back_is_listed_anew(sandbox, watched):
    sandbox.cluster.create("apiextensions.k8s.io/v1", "CustomResourceDefinition", CRD)
    sandbox.cluster.create("projectcontour.io/v1", "HTTPProxy", {"metadata": {"name": "old"}}, namespace="shop")
    await watched.watch(HTTP_PROXIES)
    sandbox.cluster.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", "httpproxies.projectcontour.io")

    async def gone():
        while True:
            try:
                await watched.watch(HTTP_PROXIES)
            except NotFound:
                return
            await asyncio.sleep(0.01)

    await asyncio.wait_for(gone(), 15)
    sandbox.cluster.create("apiextensions.k8s.io/v1", "CustomResourceDefinition", CRD)
    sandbox.cluster.create("projectcontour.io/v1", "HTTPProxy", {"metadata": {"name": "new"}}, namespace="shop")
    await eventually(lambda: watched.get(HTTP_PROXIES, "shop", "new"))
    assert watched.get(HTTP_PROXIES, "shop", "old") is None


async def test_a_forbidden_list_says_what_to_grant_and_recovers_when_it_is_granted(sandbox, watched, caplog):
    async def forbid(call):
        if call.resource == "secrets":
            return ApiError(403, "Forbidden", 'secrets is forbidden: User "canary" cannot list resource "secrets"')

    sandbox.hook = forbid
    with caplog.at_level(logging.WARNING), pytest.raises(Forbidden) as caught:
        await watched.watch(SECRETS)
    assert "grant get, list and watch on secrets in all namespaces" in caught.value.hint
    assert "--namespace" in caught.value.hint
    await asyncio.sleep(0.2)
    assert len(caplog.records) == 1, "said once, not at every attempt"
    assert watched.client.requests.total(verb="list") > 1
    sandbox.hook = None
    await eventually(lambda: SECRETS in watched.ages())
    await watched.watch(SECRETS)


async def test_a_server_that_is_down_at_the_first_watch_is_retryable_and_tried_again(sandbox, watched):
    async def down(call):
        return ApiError(503, "ServiceUnavailable", "down")

    sandbox.hook = down
    with pytest.raises(Retryable, match="down"):
        await watched.watch(SERVICES)
    sandbox.hook = None
    await eventually(lambda: SERVICES in watched.ages())


async def test_a_server_restored_from_a_backup_is_followed_again(sandbox, watched):
    sandbox._tuning.bookmark_interval = 60
    put(sandbox, "a")
    await watched.watch(CONFIG_MAPS)
    await eventually(lambda: watched.age(CONFIG_MAPS) == 0)
    store = watched._reflectors[CONFIG_MAPS].store
    store.resource_version = "999999"  # as if our history had gone further than the server's now does
    store._shelf.put(*store.prepare({"metadata": {"name": "ghost", "namespace": "shop", "resourceVersion": "999998", "uid": "x"}}))

    async def too_large(call):
        if call.verb == "watch" and call.query["resourceVersion"] == "999999":
            return ApiError(504, "Timeout", "Too large resource version: 999999")

    sandbox.hook = too_large
    sandbox.break_watches()
    await eventually(lambda: watched.get(CONFIG_MAPS, "shop", "ghost") is None)
    touch(sandbox, "a", "1")
    await eventually(lambda: label(watched, "a") == "1")


async def test_a_restored_server_that_only_stays_silent_is_listed_anew_too(sandbox, cluster_for):
    sandbox._tuning.bookmark_interval = 60
    put(sandbox, "a")
    quiet = cluster_for(timeouts=Timeouts(silence=0.1))
    await quiet.watch(CONFIG_MAPS)
    await eventually(lambda: quiet.age(CONFIG_MAPS) == 0)
    quiet._reflectors[CONFIG_MAPS].store.resource_version = "999999"
    sandbox.break_watches()
    await asyncio.sleep(0.05)
    touch(sandbox, "a", "1")
    await eventually(lambda: label(quiet, "a") == "1")


async def test_secrets_and_configmaps_are_held_without_content_but_read_whole(sandbox, watched):
    for kind in ("Secret", "ConfigMap"):
        content = {"stringData" if kind == "Secret" else "data": {"password": "hunter2"}}
        sandbox.cluster.create("v1", kind, {"metadata": {"name": "a"}, **content}, namespace="shop")
    await watched.watch(SECRETS, CONFIG_MAPS)
    for resource in (SECRETS, CONFIG_MAPS):
        await watched.merge(resource, "shop", "a", {"metadata": {"labels": {"v": "1"}}})
        cached = watched.get(resource, "shop", "a")
        assert set(cached) == {"apiVersion", "kind", "metadata"}
        assert (cached["kind"], cached["metadata"]["labels"]) == (resource.kind, {"v": "1"})
        assert (await watched.read(resource, "shop", "a"))["data"]
        assert set(watched.get(resource, "shop", "a")) == {"apiVersion", "kind", "metadata"}


async def test_a_single_namespace_is_all_that_is_listed_and_others_are_refused_with_the_reason(sandbox, cluster_for):
    put(sandbox, "mine")
    put(sandbox, "theirs", namespace="default")
    narrow = cluster_for(namespace="shop")
    await narrow.watch(CONFIG_MAPS, NAMESPACES)
    assert [body["metadata"]["name"] for body in narrow.list(CONFIG_MAPS)] == ["mine"]
    assert narrow.get(NAMESPACES, "", "default"), "cluster-scoped kinds have no namespace to be outside of"
    with pytest.raises(Rejected, match="only namespace shop is watched") as caught:
        narrow.get(CONFIG_MAPS, "default", "theirs")
    assert "--namespace" in caught.value.hint
    await narrow.merge(CONFIG_MAPS, "default", "theirs", {"data": {"a": "b"}})  # writes are not bounded by what is watched
    assert len(list(narrow.list(CONFIG_MAPS))) == 1


async def test_a_subscribers_bug_ends_neither_the_watch_nor_the_news_of_others(sandbox, watched, caplog):
    def broken(*_):
        raise RuntimeError("a bug")

    stop = watched.on_change(broken)
    told = record(watched)
    await watched.watch(CONFIG_MAPS)
    put(sandbox, "a")
    await eventually(lambda: ("ADDED", "a") in told)
    assert "a bug" in caplog.text
    stop()
    caplog.clear()
    put(sandbox, "b")
    await eventually(lambda: ("ADDED", "b") in told)
    assert caplog.text == ""


async def test_a_list_of_many_pages_is_complete_while_the_cluster_changes(sandbox, cluster_for):
    for number in range(25):
        put(sandbox, f"c{number:02}")
    pages = 0

    async def change(call):
        nonlocal pages
        if call.verb == "list":
            pages += 1
            put(sandbox, f"new{pages}")

    sandbox.hook = change
    paged = cluster_for(page_size=10)
    await paged.watch(CONFIG_MAPS)
    assert pages == 3
    await eventually(lambda: len(list(paged.list(CONFIG_MAPS, "shop"))) == 28)


async def test_a_list_whose_pages_expire_is_begun_again(sandbox, cluster_for):
    for number in range(25):
        put(sandbox, f"c{number:02}")
    lists = 0

    async def compact(call):
        nonlocal lists
        if call.verb == "list":
            lists += 1
            if lists == 2:
                touch(sandbox, "c00", "1")
                sandbox.compact()

    sandbox.hook = compact
    paged = cluster_for(page_size=10)
    await asyncio.wait_for(paged.watch(CONFIG_MAPS), 5)
    assert len(list(paged.list(CONFIG_MAPS, "shop"))) == 25
    assert lists >= 5


class OneBatch:
    """A client whose watch brings a thousand events at once."""

    async def pages(self, resource, namespace, **_):
        yield Page([], "1")

    async def watch(self, resource, namespace, **_):
        metas = [{"namespace": "shop", "name": f"c{n}", "uid": f"u{n}", "resourceVersion": str(n + 2)} for n in range(1000)]
        yield [WatchEvent("ADDED", {"metadata": meta}) for meta in metas]
        await asyncio.sleep(60)


async def test_a_burst_of_events_lets_other_tasks_have_their_turn():
    store = Store(DEPLOYMENTS)
    reflector = Reflector(OneBatch(), store)
    reflector.start()
    seen = set()
    while len(store) < 1000:
        seen.add(len(store))
        await asyncio.sleep(0)
    await reflector.close()
    assert len(seen) > 5


async def test_a_bug_of_ours_does_not_end_the_watch(sandbox, watched, caplog):
    await watched.watch(CONFIG_MAPS)
    store = watched._reflectors[CONFIG_MAPS].store
    event, store.event = store.event, None  # not callable: any event now is a TypeError
    put(sandbox, "a")
    await eventually(lambda: "TypeError" in caplog.text)
    store.event = event
    put(sandbox, "b")
    await eventually(lambda: watched.get(CONFIG_MAPS, "shop", "a") and watched.get(CONFIG_MAPS, "shop", "b"))


async def test_closing_ends_the_watch_and_leaves_the_cache_readable(sandbox, watched):
    put(sandbox, "a")
    await watched.watch(CONFIG_MAPS)
    await eventually(lambda: watched.age(CONFIG_MAPS) == 0)
    await watched.close()
    await eventually(lambda: sandbox.break_watches() == 0)
    assert watched.get(CONFIG_MAPS, "shop", "a")
    await asyncio.sleep(0.01)
    assert watched.age(CONFIG_MAPS) > 0
