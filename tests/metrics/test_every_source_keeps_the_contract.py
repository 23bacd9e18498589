"""What holds for every kind of source, whatever its API looks like."""

import json
import time

import pytest

from canary.metrics import registry
from tests.metrics.cases import BY_KIND, CASES
from tests.metrics.support import ask

every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)


def test_every_kind_that_a_template_may_name_is_served():
    from canary.api.metrictemplate import METRIC_PROVIDERS

    for kind in METRIC_PROVIDERS:
        assert type(registry.provider(kind)).__name__.lower() == f"{kind}provider"
    assert {case.kind for case in CASES} == set(METRIC_PROVIDERS) - {"prometheus", "keptn"}  # these two have no HTTP of this kind


def test_an_unknown_kind_is_an_error_that_lists_the_known():
    from canary.core.errors import Rejected

    with pytest.raises(Rejected, match="unknown metric provider type 'signalfx'") as caught:
        registry.provider("signalfx")
    assert "splunk" in caught.value.hint


@every
@pytest.mark.parametrize("value", [0.25, 0, 1e12])
async def test_a_number_is_that_number(server, wired, case, value):
    server.body = case.one(value)
    sample = await ask(wired(case))
    assert (sample.value, sample.error, sample.provider) == (value, "", case.kind)
    assert "{{" not in sample.query


@every
async def test_it_asks_where_and_as_whom_it_was_told(server, wired, case):
    server.body = case.one(1)
    await ask(wired(case))
    assert server.last.path == case.path
    assert case.credentials(server.last) == case.says
    assert "podinfo" in server.last.raw + server.last.body.decode()


@every
async def test_no_rows_are_no_data(server, wired, case):
    server.body = case.empty
    sample = await ask(wired(case))
    assert sample.error == ""
    assert sample.no_data


@every
async def test_a_null_is_no_data_and_not_0(server, wired, case):
    server.body = case.one(None)
    sample = await ask(wired(case))
    assert sample.error == ""
    assert sample.no_data


@every
async def test_several_series_are_an_error_that_names_them(server, wired, case):
    server.body = case.several
    sample = await ask(wired(case))
    assert sample.value is None
    assert "2 series" in sample.error
    assert all(name in sample.error for name in case.named), sample.error


@every
async def test_a_text_is_no_number(server, wired, case):
    server.body = case.text_value
    sample = await ask(wired(case))
    assert sample.value is None
    assert "many" in sample.error


@every
async def test_an_error_tells_what_the_source_says(server, wired, case):
    server.status, (server.body, told) = case.error_status, case.refusal
    sample = await ask(wired(case))
    assert told in sample.error
    assert str(case.error_status) in sample.error
    assert len(server.seen) == 1


@every
@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_say_so_and_are_not_repeated(server, wired, case, status):
    secrets = [value for key, value in case.secret.items() if key != "serviceAccountKey"]
    server.status, server.body = status, {"message": f"bad key {' '.join(secrets)}"}
    sample = await ask(wired(case))
    assert str(status) in sample.error
    assert "bad key" in sample.error
    assert not [value for value in secrets if value in sample.error]
    assert len(server.seen) == 1


@every
@pytest.mark.parametrize("body", ["<html>login</html>", "", "[1,", "12", '"text"', "[[]]", '{"a": 1}', "null"])
async def test_an_answer_that_is_none_is_an_error_or_no_data(server, wired, case, body):
    server.body = body
    sample = await ask(wired(case))
    assert sample.value is None
    if body == "<html>login</html>":
        assert "login" in sample.error or "ended before" in sample.error


@every
async def test_too_many_requests_are_repeated_when_the_wait_fits(server, wired, case):
    server.statuses, server.headers, server.body = [429, 503], {"Retry-After": "0"}, case.one(7)
    sample = await ask(wired(case))
    assert (sample.value, sample.error) == (7, "")
    assert len(server.seen) == 3


@every
async def test_a_wait_that_does_not_fit_is_told_at_once(server, wired, case):
    server.status, server.headers, server.body = 429, {"Retry-After": "120"}, {"message": "slow down"}
    began = time.monotonic()
    sample = await ask(wired(case))
    assert time.monotonic() - began < 2
    assert "429" in sample.error
    assert "asks to wait 120 s" in sample.error
    assert len(server.seen) == 1


@every
async def test_a_connection_that_breaks_is_tried_again(server, wired, case):
    server.drops, server.body = 1, case.one(3)
    sample = await ask(wired(case))
    assert (sample.value, sample.error) == (3, "")


@every
async def test_a_slow_source_costs_its_time_and_no_more(server, wired, case):
    server.delay = 30
    began = time.monotonic()
    sample = await ask(wired(case), timeout=0.3)
    assert time.monotonic() - began < 1.5
    assert "did not answer within" in sample.error
    assert sample.provider == case.kind


@every
async def test_a_missing_key_names_key_and_provider(server, wired, case):
    for key in case.needed:
        secret = {name: value for name, value in case.secret.items() if name != key} or {"other": "x"}
        sample = await ask(wired(case, secret=secret))
        if case.kind == "graphite" and secret == {"other": "x"}:
            continue
        assert f"`{key}`" in sample.error, sample.error
        assert case.kind in sample.error
    assert server.seen == []


@every
async def test_more_than_four_mebibytes_are_not_read(server, wired, case):
    server.body = " " * (5 * 1024 * 1024)
    assert "more than 4 MiB" in (await ask(wired(case))).error


@pytest.mark.parametrize("kind", ["graphite", "influxdb", "dynatrace", "splunk"])
async def test_a_missing_address_says_so(wired, kind):
    sample = await ask(wired(BY_KIND[kind], address=""))
    assert sample.error == f"a {kind} source needs an address; set spec.provider.address of the MetricTemplate"


@pytest.mark.parametrize("address", ["graphite:80", "ftp://graphite", "http://", "http://host:99999999", "http://u:hidden@:1"])
async def test_an_address_that_is_no_url_says_so(wired, address):
    error = (await ask(wired(BY_KIND["graphite"], address=address))).error
    assert "is not an http(s) URL" in error
    assert "hidden" not in error


async def test_credentials_in_an_address_are_used_and_never_told(server, wired):
    case = BY_KIND["graphite"]
    server.status, server.body = 500, "boom"
    cluster = wired(case, secret={}, address=server.url.replace("http://", "http://us%20er:sec%2Fret@"))
    error = (await ask(cluster)).error
    assert server.last.headers["authorization"] == "Basic dXMgZXI6c2VjL3JldA=="
    assert "boom" in error
    assert "sec" not in error


async def test_headers_of_the_template_are_sent_but_never_instead_of_the_credentials(server, wired):
    case = BY_KIND["graphite"]
    server.body = case.one(1)
    await ask(wired(case, headers={"X-Scope-OrgID": ["team"], "Authorization": ["Bearer other"]}))
    assert server.last.headers["x-scope-orgid"] == "team"
    assert server.last.headers["authorization"] == case.says


async def test_a_session_that_one_template_opened_is_not_the_others(server, wired):
    from canary.metrics.asker import Asker

    case = BY_KIND["graphite"]
    server.body, server.headers = case.one(1), {"Set-Cookie": "session=of-the-first; Path=/"}
    asker = Asker(metrics_server="")
    for name in "abc":
        assert (await ask(wired(case), asker=asker, name=name)).value == 1
        assert "cookie" not in server.last.headers
    assert server.last.headers["user-agent"].startswith("canary/")
    await asker.close()


async def test_a_proxy_of_the_environment_is_used(server, wired, monkeypatch):
    case = BY_KIND["graphite"]
    server.body = case.one(6)
    cluster = wired(case, address="http://graphite.invalid")
    monkeypatch.setenv("HTTP_PROXY", server.url)
    assert (await ask(cluster)).value == 6
    assert server.last.headers["host"] == "graphite.invalid"


async def test_a_redirect_to_another_host_gets_no_credentials(server, wired):
    case = BY_KIND["datadog"]
    server.status, server.headers = 302, {"Location": "http://localhost:1/api/v1/query"}
    assert "redirects to localhost:1" in (await ask(wired(case))).error


async def test_a_redirect_on_the_same_host_is_followed(server, wired):
    from aiohttp import web

    case = BY_KIND["datadog"]
    server.body = case.one(4)
    to = lambda seen: web.Response(status=301, headers={"Location": "/new" + seen.raw})  # noqa: E731
    server.routes["/api/v1/query"] = to
    sample = await ask(wired(case))
    assert sample.value == 4
    assert server.last.path == "/new/api/v1/query"
    assert server.last.query["query"] == "avg:requests{service:podinfo}"


async def test_a_redirect_in_a_circle_ends(server, wired):
    server.status, server.headers = 302, {"Location": "/api/v1/query"}
    assert "in a circle" in (await ask(wired(BY_KIND["datadog"]))).error


async def test_a_retry_date_is_understood(server, wired):
    case = BY_KIND["datadog"]
    server.status, server.body = 503, "down"
    server.headers = {"Date": "Wed, 21 Oct 2026 07:28:00 GMT", "Retry-After": "Wed, 21 Oct 2026 07:29:30 GMT"}
    assert "asks to wait 90 s" in (await ask(wired(case))).error


async def test_a_secret_is_read_anew_for_each_check(server, wired):
    from canary.metrics.asker import Asker

    case = BY_KIND["newrelic"]
    server.body = case.one(1)
    asker = Asker(metrics_server="")
    for token in ("first-key", "second-key"):
        await ask(wired(case, secret=case.secret | {"newrelic_query_key": token}), asker=asker)
        assert server.last.headers["x-query-key"] == token
    await asker.close()


async def test_an_untrusted_certificate_is_named_and_not_repeated(tmp_path, wired):
    import shutil
    import ssl
    import subprocess

    from aiohttp import web

    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=x"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    app = web.Application()
    case = BY_KIND["graphite"]

    async def render(_):
        return web.json_response(case.one(5))

    app.router.add_get("/render", render)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    address = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        assert "certificate" in (await ask(wired(case, address=address))).error
        assert (await ask(wired(case, address=address, insecureSkipVerify=True))).value == 5
    finally:
        await runner.cleanup()


def test_cases_are_json_or_text():
    for case in CASES:
        assert isinstance(case.several, str) or json.dumps(case.several)
