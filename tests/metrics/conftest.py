"""A source on loopback for every kind of provider."""

import json

import pytest
from aiohttp import web

from tests.metrics.cases import google_key
from tests.metrics.support import cluster_with, serving


@pytest.fixture
async def server():
    async with serving() as one:
        yield one


@pytest.fixture
def wired(server, monkeypatch):
    """`wired(case, secret=…, query=…)`: a cluster whose template names the server, with the operator's environment to match."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "AWS_ENDPOINT_URL", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", server.url)
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING", server.url)
    token = json.dumps({"access_token": "ya29.token", "expires_in": 3599, "token_type": "Bearer"})
    server.routes["/token"] = lambda _: web.Response(text=token, content_type="application/json")

    def make(case, *, secret=None, query=None, **provider):
        keys = dict(case.secret) if secret is None else secret
        if keys.get("serviceAccountKey"):
            keys["serviceAccountKey"] = google_key(f"{server.url}/token")
        place = {"address": server.url} if case.address else {}
        return cluster_with(case.kind, query or case.query, secret=keys or None, **{**case.provider, **place, **provider})

    return make
