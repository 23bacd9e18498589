"""What goes over the wire for each kind: window, query, body, and the availability check."""

import json
import time

import pytest

from tests.metrics.cases import BY_KIND, CASES, signalflow
from tests.metrics.support import ask, probe


def window(seen, start, end, *, scale=1):
    """(seconds that it spans, how far its end is from now)."""
    first, last = float(seen.query[start]) / scale, float(seen.query[end]) / scale
    return last - first, abs(time.time() - last)


@pytest.mark.parametrize(("interval", "span"), [("", 600), ("30s", 300), ("2m", 1200)])
@pytest.mark.parametrize(
    ("kind", "start", "end", "scale"),
    [("datadog", "from", "to", 1), ("dynatrace", "from", "to", 1000), ("splunk", "start", "stop", 1000)],
)
async def test_the_window_is_ten_intervals_and_one_minute_is_the_default(server, wired, kind, start, end, scale, interval, span):
    server.body = BY_KIND[kind].one(1)
    await ask(wired(BY_KIND[kind]), interval=interval)
    length, off = window(server.last, start, end, scale=scale)
    assert abs(length - span) <= 1
    assert off < 5


async def test_datadog(server, wired):
    server.body = BY_KIND["datadog"].one(1)
    await ask(wired(BY_KIND["datadog"]))
    assert (server.last.method, server.last.query["query"]) == ("GET", "avg:requests{service:podinfo}")


async def test_newrelic_gets_the_window_in_words_unless_the_query_has_one(server, wired):
    case = BY_KIND["newrelic"]
    server.body = case.one(1)
    await ask(wired(case), interval="2m")
    assert server.last.query["nrql"] == "SELECT average(duration) FROM Transaction WHERE appName = 'podinfo' SINCE 120 seconds ago"
    for own in ("SELECT count(*) FROM X SINCE 5 minutes ago", "select count(*) from X since 1 hour ago until now"):
        await ask(wired(case, query=own))
        assert server.last.query["nrql"] == own
    await ask(wired(case, query="SELECT count(*) FROM X WHERE text = 'long since \\'gone'"))
    assert server.last.query["nrql"].endswith(" SINCE 60 seconds ago")


async def test_newrelic_takes_no_path_for_an_account(server, wired):
    case = BY_KIND["newrelic"]
    sample = await ask(wired(case, secret=case.secret | {"newrelic_account_id": "1/../2"}))
    assert "no account number" in sample.error
    assert server.seen == []


async def test_graphite_gets_every_part_of_the_url_query_and_json(server, wired):
    case = BY_KIND["graphite"]
    server.body = case.one(1)
    query = "target=alias(a.{{ target }},%22x%26y%22)\n  &\n  target=b&from=-5min&format=csv"
    sample = await ask(wired(case, query=query, address=server.url + "/graphite/?x=1"))
    assert sample.value == 1
    assert server.last.path == "/graphite/render"
    assert server.last.raw.count("target=") == 2
    assert server.last.query == {"target": 'alias(a.podinfo,"x&y")', "from": "-5min", "noCache": "1", "format": "json"}


@pytest.mark.parametrize("target", ["sumSeries(a.b", "a.b)", ")a(", "alias(a.b,'c)", "alias(a.b,\"c')", "alias(a.b,'c\\')"])
async def test_graphite_is_not_asked_what_it_would_read_in_part(server, wired, target):
    error = (await ask(wired(BY_KIND["graphite"], query=f"target={target}"))).error
    assert f"the brackets or quotes of a graphite target do not close: {target}" in error
    assert server.seen == []


@pytest.mark.parametrize("target", ["sum(a.{b,c})", "alias(sum(a.b),':)')", 'alias(a.b,"it\'s")', "alias(a.b,'it\\'s')", "a.b\\(c"])
async def test_graphite_is_asked_what_closes(server, wired, target):
    server.body = BY_KIND["graphite"].one(1)
    assert (await ask(wired(BY_KIND["graphite"], query=f"target={target}"))).value == 1
    assert server.last.query["target"] == target


@pytest.mark.parametrize("age", ["cacheTimeout=5", "noCache=false"])
async def test_graphite_answers_may_be_as_old_as_the_query_says(server, wired, age):
    case = BY_KIND["graphite"]
    server.body = case.one(1)
    assert (await ask(wired(case, query=f"target=a&{age}"))).value == 1
    name, _, value = age.partition("=")
    assert server.last.query == {"target": "a", name: value, "format": "json"}


async def test_graphite_page_of_an_error_is_told_by_what_happened(server, wired):
    trace = "Traceback (most recent call last):\n  File &quot;x.py&quot;, line 1, in f\n    f(1)\nTypeError: f() takes &#x27;2&#x27;\n\n"
    server.status, server.body = 500, f"<body style='color: black'>\n<p>Graphite encountered an error</p><pre>\n{trace}</pre></body>"
    assert (await ask(wired(BY_KIND["graphite"]))).error.endswith("answered 500: TypeError: f() takes '2'")
    server.body = "<html><head><title>500</title></head>\n<body>\n<h1>Server &amp; Error</h1></body></html>"
    assert (await ask(wired(BY_KIND["graphite"]))).error.endswith("answered 500: 500 Server & Error")
    server.body = "<Traceback (most recent call last)"
    assert (await ask(wired(BY_KIND["graphite"]))).error.endswith("answered 500: <Traceback (most recent call last)")


async def test_graphite_without_a_target_is_the_users_mistake(server, wired):
    assert "must be a URL query with a target" in (await ask(wired(BY_KIND["graphite"], query="sumSeries(a)"))).error
    assert server.seen == []


async def test_dynatrace(server, wired):
    server.body = BY_KIND["dynatrace"].one(1)
    await ask(wired(BY_KIND["dynatrace"]))
    assert server.last.query["metricSelector"] == "builtin:service.response.time:filter(eq(service,podinfo))"
    assert server.last.query["resolution"] == "Inf"


async def test_influxdb_gets_flux_with_its_lines_kept(server, wired):
    case = BY_KIND["influxdb"]
    server.body = case.one(1)
    await ask(wired(case))
    assert (server.last.method, server.last.query["org"]) == ("POST", "our-org")
    assert server.last.headers["accept"] == "application/csv"
    assert server.last.headers["content-type"] == "application/json"
    body = json.loads(server.last.body)
    assert body["query"] == case.query.replace("{{ target }}", "podinfo")
    assert body["dialect"]["annotations"] == ["datatype", "group", "default"]


async def test_influxdb_without_a_secret_sends_none(server, wired):
    case = BY_KIND["influxdb"]
    server.body = case.one(1)
    assert (await ask(wired(case, secret={}))).value == 1
    assert "authorization" not in server.last.headers


async def test_splunk_gets_the_program_with_its_lines_kept(server, wired):
    case = BY_KIND["splunk"]
    server.body = case.one(1)
    await ask(wired(case))
    assert (server.last.method, server.last.query["immediate"]) == ("POST", "true")
    assert server.last.headers["content-type"] == "text/plain"
    assert server.last.body.decode() == case.query.replace("{{ target }}", "podinfo")


@pytest.mark.parametrize(
    ("address", "stream"),
    [
        ("https://api.us1.signalfx.com", "https://stream.us1.signalfx.com"),
        ("https://stream.us1.signalfx.com", "https://stream.us1.signalfx.com"),
        ("https://proxy.example/api", "https://proxy.example/api"),
    ],
)
def test_splunk_programs_run_at_the_stream_host(address, stream):
    from canary.metrics.splunk import stream_url

    assert stream_url(address) == stream


async def test_cloudwatch_gets_names_as_the_api_has_them(server, wired):
    case = BY_KIND["cloudwatch"]
    server.body = case.one(1)
    query = """[
      {"id": "e1", "expression": "m1 / 2", "label": "Rate"},
      {"ID": "m1", "metricStat": {"metric": {"namespace": "My", "metricName": "Errors", "dimensions": [{"name": "app", "value": "{{ target }}"}]},
       "period": 60, "stat": "Sum", "unit": "Count"}, "returnData": false, "nonsense": 1}
    ]"""
    await ask(wired(case, query=query))
    body = json.loads(server.last.body)
    assert body["MetricDataQueries"] == [
        {"Id": "e1", "Expression": "m1 / 2", "Label": "Rate"},
        {
            "Id": "m1",
            "MetricStat": {
                "Metric": {"Namespace": "My", "MetricName": "Errors", "Dimensions": [{"Name": "app", "Value": "podinfo"}]},
                "Period": 60,
                "Stat": "Sum",
                "Unit": "Count",
            },
            "ReturnData": False,
        },
    ]
    assert body["EndTime"] - body["StartTime"] == 600
    assert (body["MaxDatapoints"], body["ScanBy"]) == (20, "TimestampDescending")
    assert server.last.headers["x-amz-target"] == "GraniteServiceVersion20100801.GetMetricData"
    assert server.last.headers["content-type"] == "application/x-amz-json-1.0"
    assert "/eu-west-1/monitoring/aws4_request" in server.last.headers["authorization"]


@pytest.mark.parametrize("query", ["up", "{}", "[]", '["x"]', "[1]"])
async def test_cloudwatch_wants_a_list_of_queries(server, wired, query):
    assert "must be a JSON list of MetricDataQuery" in (await ask(wired(BY_KIND["cloudwatch"], query=query))).error
    assert server.seen == []


@pytest.mark.parametrize("region", ["", "evil.example/", "EU", "a b"])
async def test_cloudwatch_wants_a_region(server, wired, region):
    assert "needs a region" in (await ask(wired(BY_KIND["cloudwatch"], region=region))).error
    assert server.seen == []


async def test_cloudwatch_ignores_the_address_of_the_template(server, wired):
    server.body = BY_KIND["cloudwatch"].one(2)
    assert (await ask(wired(BY_KIND["cloudwatch"], address="http://127.0.0.1:1"))).value == 2


async def test_cloudwatch_is_asked_again_when_aws_throttles(server, wired):
    from aiohttp import web

    case = BY_KIND["cloudwatch"]
    answers = [(400, {"__type": "com.amazonaws#ThrottlingException", "message": "Rate exceeded"}), (200, case.one(9))]

    def root(seen):
        server.seen.append(seen)
        status, body = answers[min(len(server.seen), 2) - 1]
        return web.json_response(body, status=status)

    server.routes["/"] = root
    assert (await ask(wired(case))).value == 9
    assert len(server.seen) == 2


async def test_stackdriver(server, wired):
    case = BY_KIND["stackdriver"]
    server.body = case.one(1)
    await ask(wired(case, address="http://127.0.0.1:1"))
    assert server.last.method == "POST"
    assert json.loads(server.last.body) == {"query": case.query.replace("{{ target }}", "podinfo")}


async def test_external_metrics(server, wired):
    server.body = BY_KIND["externalmetrics"].one(1)
    await ask(wired(BY_KIND["externalmetrics"]))
    assert server.last.query == {"labelSelector": "app=podinfo,tier in (a)"}


# ------------------------------------------------------------------------------------------------- online

EMPTY_REQUEST = {"__type": "com.amazonaws.cloudwatch#MissingRequiredParameterException", "message": "StartTime is required"}
ONLINE = {
    "datadog": (200, {"valid": True}, "/api/v1/validate"),
    "newrelic": (200, {"results": [{"count": 0}]}, "/v1/accounts/12345/query"),
    "graphite": (200, [], "/render"),
    "dynatrace": (200, {"metrics": []}, "/api/v2/metrics"),
    "influxdb": (200, "\r\n", "/api/v2/query"),
    "splunk": (200, {"results": []}, "/v2/metric"),
    "cloudwatch": (400, EMPTY_REQUEST, "/"),
    "stackdriver": (400, {"error": {"code": 400, "message": "query is empty"}}, "/v3/projects/my-project/timeSeries:query"),
    "externalmetrics": (
        404,
        {"kind": "Status", "message": "no custom metric named dummy-metric"},
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/test/dummy-metric",
    ),
}
OFFLINE = {
    "cloudwatch": (400, {"__type": "com.amazonaws#AccessDeniedException", "message": "not authorized"}),
    "externalmetrics": (404, "404 page not found"),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
async def test_a_source_is_online_when_it_answers_its_probe(server, wired, case):
    server.status, server.body, path = ONLINE[case.kind]
    assert await probe(wired(case)) == ()
    assert server.last.path == path
    assert case.credentials(server.last) == case.says


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
async def test_a_source_that_refuses_its_probe_is_not(server, wired, case):
    server.status, server.body = OFFLINE.get(case.kind, (403, {"message": "forbidden"}))
    (problem,) = await probe(wired(case))
    assert problem.startswith(f"metric template template.test ({case.kind}): ")
    assert str(server.status) in problem


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
async def test_a_source_that_says_nothing_is_not(server, wired, case):
    server.delay = 30
    (problem,) = await probe(wired(case), timeout=0.2)
    assert "did not answer within" in problem


@pytest.mark.parametrize(
    "kind", ["UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException", "MissingAuthenticationToken", ""]
)
async def test_cloudwatch_with_credentials_that_aws_does_not_know_is_not_online(server, wired, kind):
    server.status, server.body = 400, {"__type": f"com.amazonaws#{kind}" if kind else "", "message": "who?"}
    assert len(await probe(wired(BY_KIND["cloudwatch"]))) == 1


async def test_splunk_says_what_is_wrong_with_a_program(server, wired):
    server.body = 'event: error\ndata: {"error": 400, "message": "Unknown function dta"}\n\n'
    assert "Unknown function dta" in (await ask(wired(BY_KIND["splunk"]))).error
    server.body = signalflow("a").replace("END_OF_CHANNEL", "CHANNEL_ABORT")
    assert "aborted" in (await ask(wired(BY_KIND["splunk"], query="x"))).error


async def test_influxdb_says_what_failed_in_the_middle(server, wired):
    server.body = "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,runtime error: out of memory,897\r\n"
    assert "runtime error: out of memory" in (await ask(wired(BY_KIND["influxdb"]))).error
