"""Every failure becomes one of the project's errors, with what, where and how to mend."""

import asyncio
import time

import pytest
from aiohttp import web

import canary
from canary.core.errors import CanaryError, Conflict, Forbidden, NotFound, Rejected, Retryable
from canary.kube.failures import Gone
from canary.kube.resource import CANARIES, DEPLOYMENTS, HTTP_PROXIES, NAMESPACES, SERVICES
from canary.kube.transport import Timeouts
from tests.kube.scripted import answer, raw, status

pytestmark = pytest.mark.slow

SVC = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "podinfo", "namespace": "shop"}}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, Rejected),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (405, Rejected),
        (409, Conflict),
        (410, Gone),
        (422, Rejected),
        (429, Retryable),
    ],
)
async def test_each_status_has_its_error_and_keeps_the_servers_message(api, client, code, error):
    api.will(status(code, "the server's own words"))
    with pytest.raises(error) as caught:
        await client.merge(SERVICES, "shop", "podinfo", {})
    assert type(caught.value) is error
    assert "the server's own words" in caught.value.message
    assert "patch services shop/podinfo" in caught.value.message
    assert len(api.seen) == 1


@pytest.mark.parametrize("code", [500, 502, 503, 504])
async def test_a_write_that_fails_on_the_server_is_not_repeated(api, client, code):
    api.will(status(code, "boom"))
    with pytest.raises(Retryable, match="boom"):
        await client.apply(SERVICES, SVC)
    assert len(api.seen) == 1


async def test_a_read_is_repeated_a_few_times_and_then_given_up(api, client):
    api.will(status(500, "boom"))
    with pytest.raises(Retryable):
        await client.get(SERVICES, "shop", "podinfo")
    assert len(api.seen) == 4


async def test_a_read_recovers_from_a_passing_failure(api, client):
    api.will(status(503), raw("gateway trouble", 502), answer(SVC))
    assert (await client.get(SERVICES, "shop", "podinfo"))["kind"] == "Service"


@pytest.mark.parametrize("code", [429, 503])
async def test_any_verb_is_sent_again_when_the_server_asks_for_it(api, client, code):
    api.will(status(code, "later", Retry_After="0.05"), answer(SVC))
    began = time.monotonic()
    assert await client.create(SERVICES, SVC) == SVC
    assert time.monotonic() - began >= 0.05
    assert [seen.method for seen in api.seen] == ["POST", "POST"]


async def test_a_server_that_asks_again_and_again_is_not_obeyed_for_ever(api, client):
    api.will(status(429, "later", Retry_After="0"))
    with pytest.raises(Retryable, match="later"):
        await client.create(SERVICES, SVC)
    assert len(api.seen) == 4


@pytest.mark.parametrize("code", [429, 503])
async def test_a_long_retry_after_is_the_callers_matter_even_for_reads(api, client, code):
    api.will(status(code, "maintenance", Retry_After="600"))
    with pytest.raises(Retryable, match="maintenance"):
        await client.get(SERVICES, "shop", "podinfo")
    assert len(api.seen) == 1


async def test_an_rbac_refusal_names_the_verb_and_the_resource_to_grant(api, client):
    api.will(status(403, 'deployments.apps is forbidden: User "system:serviceaccount:a:b" cannot patch resource "deployments"'))
    with pytest.raises(Forbidden) as caught:
        await client.merge(DEPLOYMENTS, "shop", "podinfo", {})
    assert "grant the verb patch on deployments.apps" in caught.value.hint


async def test_a_quota_refusal_gets_no_hint_about_rbac(api, client):
    api.will(status(403, "exceeded quota: pods"))
    with pytest.raises(Forbidden) as caught:
        await client.create(SERVICES, SVC)
    assert caught.value.hint == ""


async def test_unauthorized_says_whose_credentials_at_which_server(api, client):
    api.will(status(401, "Unauthorized"))
    with pytest.raises(Forbidden) as caught:
        await client.version()
    assert api.url in caught.value.message
    assert "renew" in caught.value.hint


async def test_a_failed_json_patch_test_is_a_conflict(api, client):
    api.will(status(422, "the server rejected our request due to an error in our request"))
    ops = [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}, {"op": "add", "path": "/spec", "value": {}}]
    with pytest.raises(Conflict):
        await client.json_patch(SERVICES, "shop", "podinfo", ops)


async def test_a_json_patch_that_makes_the_object_invalid_is_the_users_matter(api, client):
    causes = [{"reason": "FieldValueInvalid", "field": "spec.ports"}]
    api.will(status(422, "Service is invalid", causes=causes))
    ops = [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}, {"op": "add", "path": "/spec", "value": {}}]
    with pytest.raises(Rejected) as caught:
        await client.json_patch(SERVICES, "shop", "podinfo", ops)
    assert not isinstance(caught.value, Conflict)
    assert type(caught.value) is Rejected


async def test_an_unconditional_json_patch_never_conflicts_on_422(api, client):
    api.will(status(422, "the server rejected our request"))
    with pytest.raises(Rejected):
        await client.json_patch(SERVICES, "shop", "podinfo", [{"op": "remove", "path": "/spec/x"}])


async def test_a_field_that_the_crd_does_not_know_is_not_retried(api, client):
    api.will(status(500, "failed to create typed patch object: .spec.foo: field not declared in schema"))
    with pytest.raises(Rejected) as caught:
        await client.apply(HTTP_PROXIES, HTTP_PROXIES.head("shop", "podinfo"))
    assert "upgrade" in caught.value.hint


async def test_a_server_that_is_not_there_is_named_with_the_way_to_mend(client_for, unused_tcp_port):
    client = client_for(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(Retryable) as caught:
        await client.apply(SERVICES, SVC)
    assert str(unused_tcp_port) in caught.value.message
    assert "right address" in caught.value.hint
    assert client.requests.counts == {("apply", "services", "error"): 1}


async def test_a_server_that_does_not_answer_in_time_is_retryable(api, client_for):
    async def silent(_):
        await asyncio.sleep(5)

    api.will(silent)
    client = client_for(api.url, timeouts=Timeouts(connect=1, total=0.1))
    with pytest.raises(Retryable, match=r"no answer from .* in time"):
        await client.apply(SERVICES, SVC)


async def test_an_answer_that_is_not_json_is_no_traceback(api, client):
    api.will(raw("<html>a captive portal</html>", 200))
    with pytest.raises(Retryable, match="not JSON"):
        await client.get(SERVICES, "shop", "podinfo")


async def test_a_redirect_is_not_followed_with_our_credentials(api, client_for):
    async def elsewhere(_):
        raise web.HTTPFound("http://127.0.0.1:1/")

    api.will(elsewhere)
    with pytest.raises(CanaryError, match="302"):
        await client_for(api.url, token="secret").get(SERVICES, "shop", "podinfo")
    assert len(api.seen) == 1


@pytest.mark.parametrize("name", ["../../../api/v1/namespaces/kube-system/secrets/x", "a/b", "..", ".", "a%2Fb", "a?x=1", "a#b"])
async def test_a_name_that_would_aim_at_another_object_is_refused_before_it_is_sent(api, client, name):
    api.will(answer(SVC))
    for attempt in (
        client.get(SERVICES, "shop", name),
        client.get(SERVICES, name, "podinfo"),
        client.merge(SERVICES, "shop", name, {}),
        client.delete(SERVICES, "shop", name),
        client.apply(SERVICES, SERVICES.head("shop", name)),
        client.create(SERVICES, SERVICES.head(name, "podinfo")),
    ):
        with pytest.raises(Rejected, match="cannot be the name"):
            await attempt
    assert api.seen == []


async def test_verbs_send_what_the_api_server_expects(api, client):
    api.will(answer(SVC))
    await client.apply(SERVICES, SVC)
    await client.merge(CANARIES, "shop", "podinfo", {"status": {}}, subresource="status")
    await client.json_patch(SERVICES, "shop", "podinfo", [])
    await client.create(NAMESPACES, NAMESPACES.head("", "shop"))
    await client.delete(SERVICES, "shop", "podinfo", uid="u1")
    apply, merge, patch, create, delete = api.seen
    assert (apply.method, apply.path) == ("PATCH", "/api/v1/namespaces/shop/services/podinfo")
    assert apply.query == {"fieldManager": "canary", "force": "true"}
    assert apply.headers["Content-Type"] == "application/apply-patch+yaml"
    assert apply.headers["User-Agent"] == f"canary/{canary.__version__}"
    assert "Authorization" not in apply.headers
    assert merge.path == "/apis/flagger.app/v1beta1/namespaces/shop/canaries/podinfo/status"
    assert merge.headers["Content-Type"] == "application/merge-patch+json"
    assert patch.headers["Content-Type"] == "application/json-patch+json"
    assert patch.body == []
    assert (create.method, create.path, create.query) == ("POST", "/api/v1/namespaces", {"fieldManager": "canary"})
    assert (delete.method, delete.body["preconditions"], delete.body["propagationPolicy"]) == ("DELETE", {"uid": "u1"}, "Background")
    assert client.requests.counts == {
        ("apply", "services", "200"): 1,
        ("patch", "canaries.flagger.app/status", "200"): 1,
        ("patch", "services", "200"): 1,
        ("create", "namespaces", "200"): 1,
        ("delete", "services", "200"): 1,
    }
    assert client.requests.total(verb="patch") == 2


async def test_a_list_is_read_page_by_page_and_items_get_their_head(api, client):
    def page(names, token, version):
        items = [{"metadata": {"name": name}} for name in names]
        return answer({"kind": "DeploymentList", "metadata": {"continue": token, "resourceVersion": version}, "items": items})

    api.will(page("ab", "next", "7"), page("c", "", "7"))
    found = await client.list(DEPLOYMENTS)
    assert [(item["kind"], item["apiVersion"], item["metadata"]["name"]) for item in found] == [
        ("Deployment", "apps/v1", name) for name in "abc"
    ]
    assert [seen.query.get("continue") for seen in api.seen] == [None, "next"]
    assert api.seen[0].path == "/apis/apps/v1/deployments"


async def test_a_limited_list_is_one_request(api, client):
    api.will(answer({"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "a"}}]}))
    assert len(await client.list(DEPLOYMENTS, "shop", limit=1)) == 1
    assert [seen.query for seen in api.seen] == [{"limit": "1"}]


async def test_the_rate_limit_spaces_requests_after_the_burst(api, client_for):
    api.will(answer(SVC))
    client = client_for(api.url, qps=20, burst=2)
    began = time.monotonic()
    await asyncio.gather(*(client.get(SERVICES, "shop", "podinfo") for _ in range(6)))
    assert time.monotonic() - began >= 0.18


async def test_only_so_many_requests_are_in_flight_and_waiting_does_not_count_as_silence(api, client_for):
    running, most = 0, 0

    async def slow(request):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        return web.json_response(SVC)

    api.will(slow)
    client = client_for(api.url, concurrency=2, timeouts=Timeouts(connect=1, total=1.5))
    await asyncio.gather(*(client.merge(SERVICES, "shop", "podinfo", {}) for _ in range(40)))  # 2 s in all
    assert most == 2
