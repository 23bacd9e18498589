"""Decoding of watch streams: whatever the chunks are, the events are whole."""

import asyncio
import json

import pytest
from aiohttp import web

from canary.core.errors import NotFound, Retryable
from canary.kube.client import METADATA
from canary.kube.failures import Gone
from canary.kube.resource import SECRETS, SERVICES
from canary.kube.transport import Timeouts
from tests.kube.scripted import status

pytestmark = pytest.mark.slow


def stream(*chunks, hold=0.0, abort=False):
    async def handler(request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.01)
        await asyncio.sleep(hold)
        if abort:
            request.transport.abort()
        return response

    return handler


def event(kind, name, version, **extra):
    return json.dumps({"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}, **extra}}).encode() + b"\n"


async def collect(client, **options):
    found = []
    async for batch in client.watch(SERVICES, resource_version="5", **options):
        found += [(one.type, one.object["metadata"]["name"]) for one in batch]
    return found


async def test_events_split_and_joined_at_any_byte_are_whole(api, client):
    data = event("ADDED", "a", "6") + event("MODIFIED", "ü", "7") + event("DELETED", "c", "8")
    for size in (1, 7, 64, len(data)):
        api.will(stream(*(data[at : at + size] for at in range(0, len(data), size))))
        assert await collect(client) == [("ADDED", "a"), ("MODIFIED", "ü"), ("DELETED", "c")]


async def test_an_object_of_a_megabyte_passes(api, client):
    api.will(stream(event("ADDED", "big", "6", data={"x": "y" * 1_500_000})))
    assert await collect(client) == [("ADDED", "big")]


async def test_the_request_asks_for_bookmarks_and_an_end(api, client):
    api.will(stream())
    await collect(client)
    query = api.seen[0].query
    assert (query["watch"], query["allowWatchBookmarks"], query["resourceVersion"]) == ("true", "true", "5")
    assert 300 <= int(query["timeoutSeconds"]) <= 600
    assert client.requests.counts == {("watch", "services", "200"): 1}


async def test_metadata_only_is_asked_for_without_a_fallback_to_content(api, client):
    api.will(stream())
    async for _ in client.watch(SECRETS, resource_version="5", metadata_only=True):
        pass
    assert api.seen[0].headers["Accept"] == METADATA


async def test_an_expired_version_inside_the_stream_is_gone(api, client):
    error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}
    api.will(stream(event("ADDED", "a", "6"), json.dumps(error).encode() + b"\n"))
    with pytest.raises(Gone, match="too old"):
        await collect(client)


async def test_any_other_error_inside_the_stream_is_retryable(api, client):
    error = {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd"}}
    api.will(stream(json.dumps(error).encode() + b"\n"))
    with pytest.raises(Retryable, match="etcd"):
        await collect(client)


async def test_an_error_before_the_stream_is_that_error(api, client):
    api.will(status(404, "nothing here"))
    with pytest.raises(NotFound):
        await collect(client)
    api.will(status(410, "too old"))
    with pytest.raises(Gone):
        await collect(client)


async def test_a_silent_stream_is_taken_for_dead(api, client_for):
    api.will(stream(event("ADDED", "a", "6"), hold=5))
    client = client_for(api.url, timeouts=Timeouts(silence=0.2))
    with pytest.raises(Retryable, match="in time"):
        await collect(client)


async def test_a_stream_cut_in_the_middle_of_an_event_is_retryable(api, client):
    api.will(stream(event("ADDED", "a", "6"), b'{"type": "ADD', abort=True))
    with pytest.raises(Retryable):
        await collect(client)
