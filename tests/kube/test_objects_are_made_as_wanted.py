"""`ensure` on an API server with real ownership: no request when nothing differs, foreign things go only where they must."""

import pytest

from canary.core.errors import Conflict, Rejected, Retryable
from canary.kube.compare import ServerMade
from canary.kube.ensure import ensure
from canary.kube.resource import CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES
from canary.routers.base import Wanted
from tests.kube.conftest import eventually

OWNER = {
    "apiVersion": "flagger.app/v1beta1",
    "kind": "Canary",
    "name": "podinfo",
    "uid": "canary-uid",
    "controller": True,
    "blockOwnerDeletion": True,
}
PORTS = (("spec", "ports"),)


def service(*, port=80, name="http", owned=True, **more):
    body = SERVICES.head("shop", "podinfo")
    if owned:
        body["metadata"]["ownerReferences"] = [OWNER]
    body["spec"] = {"selector": {"app": "podinfo"}, "ports": [{"name": name, "port": port, "protocol": "TCP", "targetPort": port}], **more}
    return body


def wanted(body=None, *, exact=PORTS, adopt=True):
    return Wanted(SERVICES, body or service(), exact, adopt)


@pytest.fixture
def learned():
    return ServerMade()


@pytest.fixture
async def cluster_(sandbox, watched):
    await watched.watch(SERVICES, DEPLOYMENTS, CONFIG_MAPS, SECRETS)
    await eventually(lambda: all(watched.age(one) == 0 for one in watched.ages()))
    return watched


def writes(cluster):
    reads = {"get", "list", "watch"}
    return {(verb, code): n for (verb, _, code), n in cluster.client.requests.counts.items() if verb not in reads}


def users(sandbox, body, manager="kubectl"):
    """What a user has applied."""
    meta = body["metadata"]
    config = {**body, "metadata": {key: value for key, value in meta.items() if key != "ownerReferences"}}
    return sandbox.cluster.apply(body["apiVersion"], body["kind"], meta["name"], config, namespace=meta["namespace"], manager=manager)


async def seen(cluster, resource, version, name="podinfo"):
    await eventually(lambda: (found := cluster.get(resource, "shop", name)) and found["metadata"]["resourceVersion"] == version)


@pytest.mark.parametrize("exact", [(), PORTS, (("spec",),)], ids=["none", "ports", "spec"])
async def test_an_absent_object_is_created_by_one_apply_and_the_second_call_sends_nothing(cluster_, learned, exact):
    assert await ensure(cluster_, wanted(exact=exact), learned=learned) is True
    assert await ensure(cluster_, wanted(exact=exact), learned=learned) is False
    assert writes(cluster_) == {("apply", "201"): 1}
    live = cluster_.get(SERVICES, "shop", "podinfo")
    assert live["spec"]["clusterIP"]
    assert live["metadata"]["ownerReferences"] == [OWNER]


@pytest.mark.parametrize("exact", [(), PORTS, (("spec",),)], ids=["none", "ports", "spec"])
async def test_a_new_process_sends_nothing_for_what_its_predecessor_made_or_learns_once_for_all(
    sandbox, cluster_for, cluster_, learned, exact
):
    for name in ("a", "b", "c", "d"):
        body = service()
        body["metadata"] = {**body["metadata"], "name": name}
        await ensure(cluster_, Wanted(SERVICES, body, exact), learned=learned)
    successor, blank = cluster_for(), ServerMade()
    await successor.watch(SERVICES)
    for name in ("a", "b", "c", "d"):
        body = service()
        body["metadata"] = {**body["metadata"], "name": name}
        assert await ensure(successor, Wanted(SERVICES, body, exact), learned=blank) is False, "nothing changes"
    sent = sum(writes(successor).values())
    # only a whole Service spec holds something that the server allocates for each object
    assert sent == (0 if exact != (("spec",),) else 8)


async def test_a_changed_wish_is_one_apply(cluster_, learned):
    await ensure(cluster_, wanted(), learned=learned)
    assert await ensure(cluster_, wanted(service(port=9898)), learned=learned) is True
    assert [port["port"] for port in cluster_.get(SERVICES, "shop", "podinfo")["spec"]["ports"]] == [9898]
    assert writes(cluster_) == {("apply", "201"): 1, ("apply", "200"): 1}


async def test_a_wish_that_is_given_up_disappears(cluster_, learned):
    await ensure(cluster_, wanted(service(sessionAffinity="ClientIP"), exact=(("spec",),)), learned=learned)
    await ensure(cluster_, wanted(exact=(("spec",),)), learned=learned)
    assert cluster_.get(SERVICES, "shop", "podinfo")["spec"]["sessionAffinity"] == "None"


async def test_drift_is_repaired_and_the_users_own_fields_stay(sandbox, cluster_, learned):
    await ensure(cluster_, wanted(), learned=learned)
    patch = {"metadata": {"labels": {"team": "a"}}, "spec": {"selector": {"app": "other"}, "sessionAffinity": "ClientIP"}}
    changed = sandbox.cluster.patch("v1", "Service", "podinfo", patch, namespace="shop", manager="kubectl-edit")
    await seen(cluster_, SERVICES, changed["metadata"]["resourceVersion"])
    assert await ensure(cluster_, wanted(), learned=learned) is True
    live = cluster_.get(SERVICES, "shop", "podinfo")
    assert live["spec"]["selector"] == {"app": "podinfo"}
    assert live["spec"]["sessionAffinity"] == "ClientIP"
    assert live["metadata"]["labels"] == {"team": "a"}
    assert await ensure(cluster_, wanted(), learned=learned) is False


async def test_an_adopted_object_gets_no_owner_and_loses_foreign_items_only_at_exact_paths(sandbox, cluster_, learned):
    theirs = users(sandbox, service(port=9999, name="metrics", type="ClusterIP"))
    await seen(cluster_, SERVICES, theirs["metadata"]["resourceVersion"])
    assert await ensure(cluster_, wanted(), learned=learned) is True
    live = cluster_.get(SERVICES, "shop", "podinfo")
    assert [port["port"] for port in live["spec"]["ports"]] == [80]
    assert "ownerReferences" not in live["metadata"], "deleting the Canary must not delete a user's Service"
    assert live["metadata"]["uid"] == theirs["metadata"]["uid"]
    before = writes(cluster_)
    assert before == {("apply", "200"): 1, ("patch", "200"): 1}
    assert await ensure(cluster_, wanted(), learned=learned) is False
    assert writes(cluster_) == before


async def test_foreign_items_that_make_the_merged_list_invalid_are_replaced_first(sandbox, cluster_, learned):
    theirs = users(sandbox, service(port=9999, name="http"))  # the same port name: apply alone would double it
    await seen(cluster_, SERVICES, theirs["metadata"]["resourceVersion"])
    assert await ensure(cluster_, wanted(), learned=learned) is True
    assert [port["port"] for port in cluster_.get(SERVICES, "shop", "podinfo")["spec"]["ports"]] == [80]
    assert await ensure(cluster_, wanted(), learned=learned) is False


async def test_what_the_server_refuses_for_its_own_sake_is_the_users_to_hear(cluster_, learned):
    with pytest.raises(Rejected, match="invalid"):
        await ensure(cluster_, wanted(service(port=0)), learned=learned)
    await ensure(cluster_, wanted(), learned=learned)
    with pytest.raises(Rejected, match="invalid"):
        await ensure(cluster_, wanted(service(port=0)), learned=learned)


async def test_what_must_not_be_adopted_is_left_alone(sandbox, cluster_, learned):
    theirs = users(sandbox, service())
    await seen(cluster_, SERVICES, theirs["metadata"]["resourceVersion"])
    with pytest.raises(Rejected, match="Service shop/podinfo exists already and is not ours") as caught:
        await ensure(cluster_, wanted(adopt=False), learned=learned)
    assert caught.value.hint
    assert writes(cluster_) == {}


@pytest.mark.parametrize("adopt", [True, False])
async def test_an_object_that_the_cache_did_not_know_yet_does_not_become_ours(sandbox, cluster_, learned, adopt):
    users(sandbox, service(port=9999, name="metrics"))
    cluster_._reflectors[SERVICES].store._shelf.drop(("shop", "podinfo"))
    cluster_._reflectors[SERVICES].store.event = lambda *_: None  # the watch is late
    if adopt:
        await ensure(cluster_, wanted(), learned=learned)
    else:
        with pytest.raises(Rejected, match="not ours"):
            await ensure(cluster_, wanted(adopt=False), learned=learned)
    live = sandbox.cluster.get("v1", "Service", "podinfo", namespace="shop")
    assert "ownerReferences" not in live["metadata"]
    assert {port["port"] for port in live["spec"]["ports"]} == ({80} if adopt else {80, 9999})


async def test_an_object_that_is_being_deleted_is_waited_for(sandbox, cluster_, learned):
    body = service()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await cluster_.create(SERVICES, body)
    await cluster_.delete(SERVICES, "shop", "podinfo")
    with pytest.raises(Retryable, match="being deleted"):
        await ensure(cluster_, wanted(), learned=learned)


async def test_somebody_who_writes_in_between_makes_a_conflict_and_not_a_mess(sandbox, cluster_, learned):
    theirs = users(sandbox, service(port=9999, name="metrics"))
    await seen(cluster_, SERVICES, theirs["metadata"]["resourceVersion"])

    async def interfere(call):
        if call.verb == "patch" and "force" not in call.query:
            sandbox.cluster.patch("v1", "Service", "podinfo", {"metadata": {"labels": {"n": "1"}}}, namespace="shop")

    sandbox.hook = interfere
    with pytest.raises(Conflict):
        await ensure(cluster_, wanted(), learned=learned)
    sandbox.hook = None
    await ensure(cluster_, wanted(), learned=learned)
    assert [port["port"] for port in cluster_.get(SERVICES, "shop", "podinfo")["spec"]["ports"]] == [80]


@pytest.mark.parametrize("resource", [CONFIG_MAPS, SECRETS])
async def test_content_that_is_not_cached_is_read_before_it_is_judged(cluster_, learned, resource):
    body = resource.head("shop", "podinfo-primary")
    body["data"] = {"key": "dmFsdWU="}
    want = Wanted(resource, body, (("data",),))
    assert await ensure(cluster_, want, learned=learned) is True
    assert await ensure(cluster_, want, learned=learned) is False
    assert writes(cluster_) == {("apply", "201"): 1}
    await cluster_.merge(resource, "shop", "podinfo-primary", {"data": {"foreign": "eA=="}})
    assert await ensure(cluster_, want, learned=learned) is True
    assert (await cluster_.read(resource, "shop", "podinfo-primary"))["data"] == {"key": "dmFsdWU="}


async def test_a_form_that_the_server_normalises_is_written_once_and_not_for_ever(cluster_, learned):
    body = DEPLOYMENTS.head("shop", "podinfo")
    container = {"name": "c", "image": "i", "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}, "ports": [{"containerPort": 80}]}
    labels = {"app": "a"}
    body["spec"] = {
        "replicas": 0,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "hostNetwork": False}},
    }
    for exact in ((), (("spec", "template"),), (("spec",),)):
        await ensure(cluster_, Wanted(DEPLOYMENTS, body, exact), learned=learned)
        before = writes(cluster_)
        assert await ensure(cluster_, Wanted(DEPLOYMENTS, body, exact), learned=learned) is False
        assert writes(cluster_) == before


async def test_a_webhook_that_overrules_us_is_said_once_and_not_fought(sandbox, cluster_, learned, caplog):
    await ensure(cluster_, wanted(), learned=learned)
    original = cluster_.client.apply

    async def overruled(resource, body, *, force=True):
        sent = {**body, "spec": {**body["spec"], "selector": {"app": "webhook"}}}
        return await original(resource, sent, force=force)

    cluster_.client.apply = overruled
    want = wanted(service(port=81))
    await ensure(cluster_, want, learned=learned)
    assert "the API server keeps spec.selector.app at 'webhook' although 'podinfo' was applied" in caplog.text
    before = writes(cluster_)
    assert await ensure(cluster_, want, learned=learned) is False
    assert writes(cluster_) == before
