"""The webhook client against a real HTTP server: what passes, what is retried, what the event will say."""

import asyncio
import base64
import json
import socket

import pytest
from aiohttp import web

from canary.api.analysis import Webhook
from canary.hooks.client import HookClient

pytestmark = pytest.mark.slow

PAYLOAD = {"name": "podinfo", "namespace": "test", "phase": "Progressing", "checksum": "1", "metadata": {"a": "b"}}


class Receiver:
    """Answers as the list of (status, body, headers) says, then repeats the last; remembers what it was sent."""

    def __init__(self):
        self.script = [(200, "OK", {})]
        self.seen = []
        self.delay = 0.0

    async def handle(self, request):
        self.seen.append((request.method, request.headers, await request.text(), asyncio.get_running_loop().time()))
        if request.path == "/elsewhere":
            return web.Response(text="moved here")
        await asyncio.sleep(self.delay)
        status, body, headers = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return web.Response(status=status, text=body if status != 204 else None, headers=headers)


@pytest.fixture
async def receiver():
    it = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", it.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield it
    await runner.cleanup()


@pytest.fixture
async def client():
    it = HookClient()
    yield it
    await it.close()


def hook(url, **more):
    return Webhook(name="gate", url=url, **more)


async def test_the_payload_arrives_as_json(receiver, client):
    result = await client.call(hook(receiver.url), PAYLOAD)
    method, headers, body, _ = receiver.seen[0]
    assert result.ok
    assert (method, headers["Content-Type"], json.loads(body)) == ("POST", "application/json", PAYLOAD)


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204, 206])
async def test_every_2xx_passes(receiver, client, status):
    receiver.script = [(status, "fine", {})]
    assert (await client.call(hook(receiver.url), PAYLOAD)).ok


@pytest.mark.parametrize("status", [400, 403, 404, 409, 429, 500, 501, 503])
async def test_everything_else_fails_and_says_what_came_back(receiver, client, status):
    receiver.script = [(status, "because of this", {})]
    result = await client.call(hook(receiver.url), PAYLOAD)
    assert not result.ok
    assert "because of this" in result.message


async def test_success_codes_replace_the_default(receiver, client):
    receiver.script = [(404, "absent is what we want", {})]
    assert (await client.call(hook(receiver.url, success_codes=(404,)), PAYLOAD)).ok
    receiver.script = [(200, "OK", {})]
    assert not (await client.call(hook(receiver.url, success_codes=(404,)), PAYLOAD)).ok


@pytest.mark.parametrize(("status", "calls"), [(503, 2), (500, 2), (429, 2), (501, 1), (403, 1)])
async def test_only_what_may_pass_later_is_retried(receiver, client, status, calls):
    receiver.script = [(status, "no", {})]
    await client.call(hook(receiver.url, retries=1), PAYLOAD)
    assert len(receiver.seen) == calls


async def test_retries_wait_longer_each_time_and_then_pass(receiver, client):
    receiver.script = [(503, "no", {}), (503, "no", {}), (200, "yes", {})]
    result = await client.call(hook(receiver.url, retries=5), PAYLOAD)
    times = [at for *_, at in receiver.seen]
    assert result.ok
    assert len(times) == 3
    assert times[1] - times[0] >= 0.99
    assert times[2] - times[1] >= 1.99


async def test_retry_after_is_obeyed(receiver, client):
    receiver.script = [(429, "slow down", {"Retry-After": "2"}), (200, "yes", {})]
    assert (await client.call(hook(receiver.url, retries=1), PAYLOAD)).ok
    assert receiver.seen[1][3] - receiver.seen[0][3] >= 1.99


async def test_a_slow_receiver_costs_its_timeout_and_no_more(receiver, client):
    receiver.delay = 5
    began = asyncio.get_running_loop().time()
    result = await client.call(hook(receiver.url, timeout="1s"), PAYLOAD)
    assert asyncio.get_running_loop().time() - began < 2
    assert (result.ok, result.message) == (False, "no answer within 1 s")


async def test_nobody_listening_is_a_clear_failure(client):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        result = await client.call(hook(f"http://127.0.0.1:{taken.getsockname()[1]}/", timeout="3s"), PAYLOAD)
    assert not result.ok
    assert "cannot be reached" in result.message


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/", "http://", "http://[bad/"])
async def test_a_url_that_is_none_is_a_clear_failure(client, url):
    result = await client.call(hook(url), PAYLOAD)
    assert not result.ok
    assert result.message


async def test_a_temporary_redirect_posts_again_and_a_found_becomes_a_get(receiver, client):
    receiver.script = [(307, "", {"Location": "/elsewhere"}), (302, "", {"Location": "/elsewhere"})]
    assert (await client.call(hook(receiver.url), PAYLOAD)).ok
    assert (await client.call(hook(receiver.url), PAYLOAD)).ok
    assert [method for method, *_ in receiver.seen] == ["POST", "POST", "POST", "GET"]


async def test_the_secret_gives_headers_and_a_token(receiver, client):
    secret = {"header.X-Team": base64.b64encode(b"checkout").decode(), "token": base64.b64encode(b"s3cret\n").decode()}
    await client.call(hook(receiver.url), PAYLOAD, secret=secret)
    headers = receiver.seen[0][1]
    assert (headers["X-Team"], headers["Authorization"]) == ("checkout", "Bearer s3cret")


async def test_an_unusable_secret_is_a_clear_failure(client):
    bad = {"ca.crt": base64.b64encode(b"not a certificate").decode()}
    result = await client.call(hook("https://127.0.0.1:9/"), PAYLOAD, secret=bad)
    assert not result.ok
    assert "Secret of webhook gate is unusable" in result.message
