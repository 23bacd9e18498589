"""Watches: order, versions, selection, bookmarks, time limits and 410."""

import asyncio
import json

from tests.conformance.driver import Driver, Object, config_map, widget

METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


async def version(api: Driver) -> str:
    return str((await api.list("widgets"))["metadata"]["resourceVersion"])


def name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


async def test_changes_since_a_version_in_order(api: Driver) -> None:
    start = await version(api)
    made = await api.create("widgets", widget("w"))
    changed = await api.patch("widgets", "w", {"spec": {"colour": "blue"}})
    await api.delete("widgets", "w")
    async with api.watch("widgets", f"resourceVersion={start}") as events:
        assert await events.next() == ("ADDED", made)
        assert await events.next() == ("MODIFIED", changed)
        kind, last = await events.next()
    assert (kind, last["spec"]) == ("DELETED", changed["spec"])
    assert int(last["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"])


async def test_changes_arrive_while_watching(api: Driver) -> None:
    async with api.watch("widgets", f"resourceVersion={await version(api)}") as events:
        waiting = asyncio.ensure_future(events.next())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        made = await api.create("widgets", widget("w"))
        assert await waiting == ("ADDED", made)
        changed = await api.patch("widgets", "w", {"status": {"phase": "Used"}}, sub="status")
        assert await events.next() == ("MODIFIED", changed)


async def test_write_without_change_is_no_event(api: Driver) -> None:
    made = await api.create("widgets", widget("w"))
    async with api.watch("widgets", f"resourceVersion={made['metadata']['resourceVersion']}") as events:
        await api.patch("widgets", "w", {"spec": {"colour": "red"}})
        await api.apply("widgets", widget("w"), manager="conformance")
        changed = await api.patch("widgets", "w", {"spec": {"colour": "blue"}})
        kind, obj = await events.next()
        while obj["spec"] == made["spec"]:  # apply adds a manager, which is a change of its own
            kind, obj = await events.next()
    assert (kind, obj) == ("MODIFIED", changed)


async def test_without_a_version_the_present_state_comes_first(api: Driver) -> None:
    for each in ("a", "b"):
        await api.create("widgets", widget(each))
    for query in ("", "resourceVersion=0", "resourceVersion="):
        async with api.watch("widgets", query) as events:
            found = sorted([name((await events.next())[1]) for _ in range(2)])
            assert found == ["a", "b"], query
    await api.delete("widgets", "a")


async def test_time_limit_ends_the_stream(api: Driver) -> None:
    async with api.watch("widgets", f"resourceVersion={await version(api)}&timeoutSeconds=1") as events:
        assert await events.next(timeout=5) == ("END", {})


async def test_selection_changes_are_additions_and_deletions(api: Driver) -> None:
    start = await version(api)
    made = await api.create("widgets", widget("w", labels={"on": "no"}))
    entered = await api.patch("widgets", "w", {"metadata": {"labels": {"on": "yes"}}})
    changed = await api.patch("widgets", "w", {"spec": {"colour": "blue"}})
    left = await api.patch("widgets", "w", {"metadata": {"labels": {"on": "no"}}})
    await api.delete("widgets", "w")
    await api.create("widgets", widget("last", labels={"on": "yes"}))
    assert made["metadata"]["uid"] == left["metadata"]["uid"]
    async with api.watch("widgets", f"resourceVersion={start}&labelSelector=on%3Dyes") as events:
        assert await events.next() == ("ADDED", entered)
        assert await events.next() == ("MODIFIED", changed)
        kind, last = await events.next()
        assert (kind, last["metadata"]["labels"]) == ("DELETED", {"on": "yes"})
        assert last["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
        assert name((await events.next())[1]) == "last"


async def test_one_object_by_field_selector(api: Driver) -> None:
    start = await version(api)
    for each in ("a", "b"):
        await api.create("widgets", widget(each))
    changed = await api.patch("widgets", "b", {"spec": {"colour": "blue"}})
    async with api.watch("widgets", f"resourceVersion={start}&fieldSelector=metadata.name%3Db") as events:
        assert name((await events.next())[1]) == "b"
        assert await events.next() == ("MODIFIED", changed)


async def test_other_namespaces_are_not_seen(api: Driver) -> None:
    start = (await api.list("configmaps"))["metadata"]["resourceVersion"]
    await api.call("POST", api.path("configmaps", namespace="default"), config_map(f"other-{api.namespace}"), expect=201)
    await api.create("configmaps", config_map("mine"))
    async with api.watch("configmaps", f"resourceVersion={start}") as events:
        assert name((await events.next())[1]) == "mine"
    await api.call("DELETE", api.path("configmaps", f"other-{api.namespace}", namespace="default"), expect=200)


async def test_bookmark_before_the_end(api: Driver) -> None:
    start = await version(api)
    made = await api.create("widgets", widget("w"))
    async with api.watch("widgets", f"resourceVersion={start}&timeoutSeconds=3&allowWatchBookmarks=true") as events:
        found = await events.rest()
    kinds = [kind for kind, _ in found]
    assert kinds[0] == "ADDED"
    assert set(kinds[1:]) <= {"BOOKMARK"}
    if len(kinds) == 1 and api.is_real:
        return  # the API promises no bookmark, and a busy server leaves it out; ours always sends one
    mark = found[-1][1]
    assert found[-1][0] == "BOOKMARK"
    assert (mark["kind"], mark["apiVersion"]) == ("Widget", "conformance.test/v1")
    assert int(mark["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])
    next_one = await api.create("widgets", widget("x"))
    async with api.watch("widgets", f"resourceVersion={mark['metadata']['resourceVersion']}") as events:
        assert await events.next() == ("ADDED", next_one)


async def test_no_bookmark_unless_asked(api: Driver) -> None:
    async with api.watch("widgets", f"resourceVersion={await version(api)}&timeoutSeconds=2") as events:
        assert await events.rest() == []


async def test_initial_events_end_with_a_bookmark(api: Driver) -> None:
    for each in ("a", "b"):
        await api.create("widgets", widget(each))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api.watch("widgets", query) as events:
        first = [(await events.next(skip=())) for _ in range(3)]
        assert [kind for kind, _ in first] == ["ADDED", "ADDED", "BOOKMARK"]
        assert first[2][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await api.create("widgets", widget("c"))
        kind, obj = await events.next()
        assert (kind, name(obj)) == ("ADDED", "c")


async def test_initial_events_need_a_match(api: Driver) -> None:
    answer = await api.call("GET", api.path("widgets") + "?watch=1&sendInitialEvents=true")
    assert (answer.code, set(answer.causes)) == (422, {"resourceVersionMatch"})


async def test_version_before_the_history_is_expired(api: Driver) -> None:
    async with api.watch("widgets", "resourceVersion=1&timeoutSeconds=5") as events:
        kind, status = await events.next()
        assert kind == "ERROR"
        assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
        assert status["message"].startswith("too old resource version: 1 (")
        assert await events.next() == ("END", {})


async def test_version_that_is_none(api: Driver) -> None:
    answer = await api.call("GET", api.path("widgets") + "?watch=1&resourceVersion=abc")
    assert answer.code == 500
    assert "invalid syntax" in answer.body["message"]


async def test_metadata_only(api: Driver) -> None:
    start = await version(api)
    await api.create("widgets", widget("w"))
    async with api.watch("widgets", f"resourceVersion={start}", accept=METADATA) as events:
        kind, obj = await events.next()
    assert (kind, obj["kind"], name(obj), "spec" in obj) == ("ADDED", "PartialObjectMetadata", "w", False)


async def test_marking_for_deletion_is_a_modification(api: Driver) -> None:
    made = await api.create("widgets", {**widget("w"), "metadata": {"name": "w", "finalizers": ["a.test/hold"]}})
    async with api.watch("widgets", f"resourceVersion={made['metadata']['resourceVersion']}") as events:
        await api.delete("widgets", "w")
        kind, obj = await events.next()
        assert (kind, "deletionTimestamp" in obj["metadata"]) == ("MODIFIED", True)
        await api.patch("widgets", "w", {"metadata": {"finalizers": None}})
        kind, obj = await events.next()
        assert (kind, obj["metadata"]["finalizers"]) == ("DELETED", ["a.test/hold"])  # the last stored state, not the patched one


async def test_lines_are_json_each(api: Driver) -> None:
    for each in ("a", "b", "c"):
        await api.create("widgets", widget(each))
    async with api.session.get(api.path("widgets") + "?watch=1&timeoutSeconds=1") as response:
        assert response.headers["Content-Type"].startswith("application/json")
        lines = [line for line in (await response.text()).split("\n") if line]
    assert [json.loads(line)["type"] for line in lines] == ["ADDED"] * 3
