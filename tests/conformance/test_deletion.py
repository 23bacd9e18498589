"""Deletion: finalizers, preconditions, propagation to dependents, collections, namespaces and custom kinds."""

import copy
from typing import Any

from tests.conformance.driver import DEFINITIONS, MERGE, Driver, Object, config_map, deployment, widget


def owned(name: str, owner: Object, **more: Any) -> Object:
    """A dependent. Owners are of a built-in kind, since the real collector learns of new kinds only every 30 seconds."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        **more,
    }
    return config_map(name, ownerReferences=[reference])


async def test_delete_answers_success(api: Driver) -> None:
    made = await api.create("widgets", widget("w"))
    status = await api.delete("widgets", "w")
    assert (status["kind"], status["status"]) == ("Status", "Success")
    assert status["details"] == {"name": "w", "group": "conformance.test", "kind": "widgets", "uid": made["metadata"]["uid"]}
    assert (await api.call("GET", api.path("widgets", "w"))).code == 404


async def test_finalizer_holds_an_object(api: Driver) -> None:
    made = await api.create("widgets", {**widget("w"), "metadata": {"name": "w", "finalizers": ["a.test/hold"]}})
    marked = await api.delete("widgets", "w")
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    assert marked["metadata"]["generation"] == made["metadata"]["generation"] + 1
    assert await api.delete("widgets", "w") == marked
    assert (await api.patch("widgets", "w", {"spec": {"colour": "blue"}}))["spec"]["colour"] == "blue"
    last = await api.patch("widgets", "w", {"metadata": {"finalizers": None}})
    assert "finalizers" not in last["metadata"]
    assert (await api.call("GET", api.path("widgets", "w"))).code == 404


async def test_no_new_finalizer_on_a_dying_object(api: Driver) -> None:
    await api.create("widgets", {**widget("w"), "metadata": {"name": "w", "finalizers": ["a.test/hold"]}})
    await api.delete("widgets", "w")
    answer = await api.call("PATCH", api.path("widgets", "w"), {"metadata": {"finalizers": ["a.test/hold", "a.test/more"]}}, type=MERGE)
    assert answer.code == 422
    assert "no new finalizers can be added if the object is being deleted" in answer.causes["metadata.finalizers"]
    unmarked = await api.patch("widgets", "w", {"metadata": {"deletionTimestamp": None}})
    assert unmarked["metadata"]["deletionTimestamp"]
    await api.patch("widgets", "w", {"metadata": {"finalizers": []}})


async def test_preconditions(api: Driver) -> None:
    made = await api.create("configmaps", config_map("c"))
    for field, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        answer = await api.call("DELETE", api.path("configmaps", "c"), {"preconditions": {field: "other"}})
        assert (answer.code, answer.reason) == (409, "Conflict")
        assert f"the {name} in the precondition (other) does not match" in answer.body["message"]
    metadata = made["metadata"]
    await api.delete("configmaps", "c", {"preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}})


async def test_unknown_propagation_is_refused(api: Driver) -> None:
    await api.create("configmaps", config_map("c"))
    answer = await api.call("DELETE", api.path("configmaps", "c") + "?propagationPolicy=Sideways")
    assert (answer.code, set(answer.causes)) == (422, {"propagationPolicy"})


async def test_dependents_go_with_their_owner(api: Driver) -> None:
    owner = await api.create("configmaps", config_map("owner"))
    await api.create("configmaps", owned("c", owner))
    await api.delete("configmaps", "owner", {"propagationPolicy": "Background"})
    await api.gone("configmaps", "c")


async def test_dependent_with_another_living_owner_stays(api: Driver) -> None:
    first, second = await api.create("configmaps", config_map("one")), await api.create("configmaps", config_map("two"))
    obj = owned("c", first)
    obj["metadata"]["ownerReferences"] += owned("c", second)["metadata"]["ownerReferences"]
    await api.create("configmaps", obj)
    await api.delete("configmaps", "one")

    async def released() -> bool:
        found = await api.get("configmaps", "c")
        return [one["name"] for one in found["metadata"]["ownerReferences"]] == ["two"]

    await api.eventually("the reference to the dead owner going", released)


async def test_orphans_stay(api: Driver) -> None:
    owner = await api.create("configmaps", config_map("owner"))
    await api.create("configmaps", owned("c", owner))
    await api.delete("configmaps", "owner", {"propagationPolicy": "Orphan"})
    await api.gone("configmaps", "owner")
    assert "ownerReferences" not in (await api.get("configmaps", "c"))["metadata"]


async def test_foreground_deletes_dependents_first(api: Driver) -> None:
    owner = await api.create("configmaps", config_map("owner"))
    held = owned("c", owner, blockOwnerDeletion=True, controller=True)
    held["metadata"]["finalizers"] = ["a.test/hold"]
    await api.create("configmaps", held)
    marked = await api.delete("configmaps", "owner", {"propagationPolicy": "Foreground"})
    assert marked["metadata"]["finalizers"] == ["foregroundDeletion"]

    async def dying() -> bool:
        return "deletionTimestamp" in (await api.get("configmaps", "c"))["metadata"]

    await api.eventually("the dependent dying", dying)
    assert (await api.call("GET", api.path("configmaps", "owner"))).code == 200
    await api.patch("configmaps", "c", {"metadata": {"finalizers": None}})
    await api.gone("configmaps", "owner")


async def test_object_of_a_dead_owner_is_collected(api: Driver) -> None:
    owner = await api.create("configmaps", config_map("owner"))
    await api.delete("configmaps", "owner")
    await api.create("configmaps", owned("c", owner))
    await api.gone("configmaps", "c")


async def test_delete_collection_by_label(api: Driver) -> None:
    for name, colour in (("a", "x"), ("b", "x"), ("c", "y")):
        await api.create("widgets", widget(name, labels={"group": colour}))
    answer = await api.call("DELETE", api.path("widgets") + "?labelSelector=group%3Dx", expect=200)
    assert [one["metadata"]["name"] for one in answer.body["items"]] == ["a", "b"]
    assert [one["metadata"]["name"] for one in (await api.list("widgets"))["items"]] == ["c"]


async def test_unscheduled_pod_goes_at_once(api: Driver) -> None:
    await api.create("pods", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}], "schedulerName": "nobody"}})
    last = await api.delete("pods", "p")
    assert last["kind"] == "Pod"
    await api.gone("pods", "p")


async def test_scheduled_pod_waits_for_its_node(api: Driver) -> None:
    await api.create(
        "pods",
        {
            "metadata": {"name": "p", "finalizers": ["a.test/hold"]},
            "spec": {"containers": [{"name": "c", "image": "x"}], "nodeName": "nowhere"},
        },
    )
    marked = await api.delete("pods", "p", {"gracePeriodSeconds": 20})
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 20
    await api.delete("pods", "p", {"gracePeriodSeconds": 0})
    await api.patch("pods", "p", {"metadata": {"finalizers": None}})
    await api.gone("pods", "p")


async def test_namespace_takes_its_content_along(api: Driver) -> None:
    name = f"{api.namespace}-doomed"
    await api.create("namespaces", {"metadata": {"name": name}})
    held = {**widget("w"), "metadata": {"name": "w", "finalizers": ["a.test/hold"]}}
    await api.call("POST", api.path("widgets", namespace=name), held, expect=201)
    await api.call("POST", api.path("configmaps", namespace=name), config_map("c"), expect=201)
    dying = await api.delete("namespaces", name)
    assert (dying["status"]["phase"], dying["spec"]["finalizers"]) == ("Terminating", ["kubernetes"])
    refused = await api.call("POST", api.path("configmaps", namespace=name), config_map("late"))
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"

    async def marked() -> bool:
        found = await api.call("GET", api.path("widgets", "w", namespace=name), expect=200)
        return "deletionTimestamp" in found.body["metadata"]

    await api.eventually("the widget being marked", marked)
    await api.call("PATCH", api.path("widgets", "w", namespace=name), {"metadata": {"finalizers": None}}, type=MERGE, expect=200)
    await api.gone("namespaces", name)


async def test_crd_takes_its_instances_along(api: Driver) -> None:
    definition = copy.deepcopy(DEFINITIONS[0])
    plural = "passing" + api.namespace.replace("-", "")
    definition["metadata"]["name"] = f"{plural}.conformance.test"
    definition["spec"]["names"] = {"plural": plural, "kind": plural.capitalize()}
    await api.create("customresourcedefinitions", definition)
    base = f"/apis/conformance.test/v1/namespaces/{api.namespace}/{plural}"

    async def served() -> bool:
        return (await api.call("GET", base)).code == 200

    await api.eventually("the kind being served", served)
    await api.call("POST", base, {**widget("w"), "kind": plural.capitalize()}, expect=201)
    dying = await api.delete("customresourcedefinitions", definition["metadata"]["name"])
    assert dying["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    await api.gone("customresourcedefinitions", definition["metadata"]["name"])

    async def unserved() -> bool:
        return (await api.call("GET", base)).code == 404

    await api.eventually("the kind going", unserved)


async def test_finalizer_of_a_deployment(api: Driver) -> None:
    obj = deployment("d")
    obj["metadata"]["finalizers"] = ["a.test/hold"]
    await api.create("deployments", obj)
    assert (await api.delete("deployments", "d"))["kind"] == "Deployment"
    await api.patch("deployments", "d", {"metadata": {"finalizers": []}})
    await api.gone("deployments", "d")
