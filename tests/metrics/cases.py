"""What each kind of source answers, written from the vendors' API documentation: one `Case` a kind, for the shared contract."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.metrics.support import pem

ACCESS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}


@dataclass
class Case:
    """`one(value)` is the answer with one series of one value; `several` one with two, whose names `named` an error must tell.

    `text_value`: an answer with a text where the number belongs. `refusal`: an error body and what of it must be told.
    """

    kind: str
    query: str
    secret: dict
    one: Callable
    empty: object
    several: object
    named: tuple
    text_value: object
    refusal: tuple
    needed: tuple
    path: str
    credentials: Callable = lambda seen: ""
    says: str = ""
    address: bool = True
    error_status: int = 400
    provider: dict = field(default_factory=dict)


def datadog_series(*scopes, value=1.0):
    now = time.time() * 1000
    points = [[now - 60_000, value], [now - 30_000, value]]
    series = [{"expression": f"avg:x{{{scope}}}", "scope": scope, "interval": 10, "pointlist": points} for scope in scopes]
    return {"status": "ok", "res_type": "time_series", "series": series, "error": "", "message": ""}


def dynatrace_data(*hosts, value=1.0):
    data = [{"dimensions": [host], "dimensionMap": {"host": host}, "timestamps": [1], "values": [value]} for host in hosts]
    return {"totalCount": 1, "nextPageKey": None, "resolution": "Inf", "result": [{"metricId": "m", "data": data}]}


def csv(*hosts, value="1.5", datatype="double"):
    """Annotated CSV with one table a host."""
    lines = [
        f"#datatype,string,long,dateTime:RFC3339,{datatype},string",
        "#group,false,false,false,false,true",
        "#default,_result,,,,",
        ",result,table,_time,_value,host",
    ]
    lines += [f",,{table},2024-01-01T00:00:00Z,{value},{host}" for table, host in enumerate(hosts)]
    return "\r\n".join(lines) + "\r\n\r\n" if hosts else "\r\n"


def signalflow(*hosts, value=1.0):
    """A stream of server-sent events with one time series a host."""
    events = [("control-message", {"event": "STREAM_START", "timestampMs": 1}), ("control-message", {"event": "JOB_START", "handle": "h"})]
    events += [("metadata", {"tsId": f"ts-{host}", "properties": {"host": host}}) for host in hosts]
    for at in (1000, 2000):
        events.append(("data", {"data": [{"tsId": f"ts-{host}", "value": value} for host in hosts], "logicalTimestampMs": at}))
    events.append(("control-message", {"event": "END_OF_CHANNEL", "timestampMs": 3}))
    return "".join(f"event: {name}\ndata: {json.dumps(body)}\n\n" for name, body in events)


def cloudwatch(*ids, value=1.0, points=True):
    results = [
        {
            "Id": each,
            "Label": f"label of {each}",
            "StatusCode": "Complete",
            "Timestamps": [1_700_000_060.0, 1_700_000_000.0] if points else [],
            "Values": [value, None if value is None else 999.0] if points else [],
        }
        for each in ids
    ]
    return {"MetricDataResults": results, "Messages": []}


def stackdriver(*labels, value=None):
    point = {"values": [{"doubleValue": 1.5} if value is None else value], "timeInterval": {"endTime": "2024-01-01T00:00:00Z"}}
    old = {"values": [{"doubleValue": 999.0}], "timeInterval": {"endTime": "2023-01-01T00:00:00Z"}}
    data = [{"labelValues": [{"stringValue": label}], "pointData": [point, old]} for label in labels]
    return {"timeSeriesDescriptor": {"pointDescriptors": [{"key": "value.x", "valueType": "DOUBLE"}]}, "timeSeriesData": data}


def google_key(token_uri):
    key = {"type": "service_account", "client_email": "c@p.iam.gserviceaccount.com", "private_key_id": "k1", "private_key": pem()}
    return json.dumps(key | {"token_uri": token_uri})


def external(*hosts, value="1500m"):
    items = [{"metricName": "q", "metricLabels": {"host": host}, "timestamp": "2024-01-01T00:00:00Z", "value": value} for host in hosts]
    return {"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {}, "items": items}


CASES = [
    Case(
        kind="datadog",
        query="avg:requests{service:{{ target }}}",
        secret={"datadog_api_key": "dd-api-secret", "datadog_application_key": "dd-app-secret"},
        one=lambda value: datadog_series("a", value=value),
        empty={"status": "ok", "series": [], "error": ""},
        several=datadog_series("host:a", "host:b"),
        named=("host:a", "host:b"),
        text_value=datadog_series("a", value="many"),
        refusal=({"errors": ["Error parsing query"]}, "Error parsing query"),
        needed=("datadog_api_key", "datadog_application_key"),
        path="/api/v1/query",
        credentials=lambda seen: seen.headers["dd-api-key"] + "+" + seen.headers["dd-application-key"],
        says="dd-api-secret+dd-app-secret",
    ),
    Case(
        kind="newrelic",
        query="SELECT average(duration) FROM Transaction WHERE appName = '{{ target }}'",
        secret={"newrelic_account_id": "12345", "newrelic_query_key": "nr-secret"},
        one=lambda value: {"results": [{"result": value}], "metadata": {}},
        empty={"results": [], "metadata": {}},
        several={"results": [{"result": 1.0}, {"result": 2.0}]},
        named=('"result": 1.0', '"result": 2.0'),
        text_value={"results": [{"result": "many"}]},
        refusal=({"error": "NRQL Syntax Error"}, "NRQL Syntax Error"),
        needed=("newrelic_account_id", "newrelic_query_key"),
        path="/v1/accounts/12345/query",
        credentials=lambda seen: seen.headers["x-query-key"],
        says="nr-secret",
    ),
    Case(
        kind="graphite",
        query="target=sumSeries(app.{{ target }}.http)&from=-1min",
        secret={"username": "user-name", "password": "pass-word"},
        one=lambda value: [{"target": "t", "datapoints": [[None if value is None else 999.0, 1], [value, 2], [None, 3]]}],
        empty=[],
        several=[{"target": "a.http", "datapoints": [[1, 1]]}, {"target": "b.http", "datapoints": [[1, 1]]}],
        named=("a.http", "b.http"),
        text_value=[{"target": "t", "datapoints": [["many", 1]]}],
        refusal=("Invalid target", "Invalid target"),
        needed=("username", "password"),
        path="/render",
        credentials=lambda seen: seen.headers["authorization"],
        says="Basic dXNlci1uYW1lOnBhc3Mtd29yZA==",
    ),
    Case(
        kind="dynatrace",
        query="builtin:service.response.time:filter(eq(service,{{ target }}))",
        secret={"dynatrace_token": "dt0c01.secret"},
        one=lambda value: dynatrace_data("a", value=value),
        empty={"totalCount": 0, "result": [{"metricId": "m", "data": []}]},
        several=dynatrace_data("HOST-1", "HOST-2"),
        named=("HOST-1", "HOST-2"),
        text_value=dynatrace_data("a", value="many"),
        refusal=({"error": {"code": 400, "message": "Constraints violated", "constraintViolations": []}}, "Constraints violated"),
        needed=("dynatrace_token",),
        path="/api/v2/metrics/query",
        credentials=lambda seen: seen.headers["authorization"],
        says="Api-Token dt0c01.secret",
    ),
    Case(
        kind="influxdb",
        query='from(bucket: "b")\n  |> range(start: -1m) // the last minute\n  |> filter(fn: (r) => r.app == "{{ target }}")\n  |> mean()',
        secret={"token": "influx-secret", "org": "our-org"},
        one=lambda value: csv("a", value="" if value is None else str(value)),
        empty=csv(),
        several=csv("host-1", "host-2"),
        named=("host-1", "host-2"),
        text_value=csv("a", value="many", datatype="string"),
        refusal=({"code": "invalid", "message": "compilation failed: error at @1:1"}, "compilation failed"),
        needed=("token", "org"),
        path="/api/v2/query",
        credentials=lambda seen: seen.headers["authorization"],
        says="Token influx-secret",
    ),
    Case(
        kind="splunk",
        query="A = data('requests', filter=filter('app', '{{ target }}'))\nA.sum().publish()",
        secret={"sf_token_key": "sf-secret"},
        one=lambda value: signalflow("a", value=value),
        empty=signalflow(),
        several=signalflow("host-1", "host-2"),
        named=("host-1", "host-2"),
        text_value=signalflow("a", value="many"),
        refusal=({"code": 400, "message": "Unable to parse program", "errorType": "X"}, "Unable to parse program"),
        needed=("sf_token_key",),
        path="/v2/signalflow/execute",
        credentials=lambda seen: seen.headers["x-sf-token"],
        says="sf-secret",
    ),
    Case(
        kind="cloudwatch",
        query='[{"id": "e1", "expression": "m1 / m2", "label": "{{ target }}"}]',
        secret=ACCESS,
        one=lambda value: cloudwatch("e1", value=value),
        empty=cloudwatch("e1", points=False),
        several=cloudwatch("e1", "m1"),
        named=("e1 (label of e1)", "m1 (label of m1)", "returnData"),
        text_value=cloudwatch("e1", value="many"),
        refusal=(
            {"__type": "com.amazonaws.cloudwatch#ValidationError", "message": "Invalid expression"},
            "ValidationError: Invalid expression",
        ),
        needed=("aws_access_key_id", "aws_secret_access_key"),
        path="/",
        credentials=lambda seen: seen.headers["authorization"].partition("/")[0],
        says="AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE",
        address=False,
        provider={"region": "eu-west-1"},
    ),
    Case(
        kind="stackdriver",
        query="fetch k8s_container | metric 'x' | filter resource.pod_name =~ '{{ target }}.*'",
        secret={"project": "my-project", "serviceAccountKey": "(filled in)"},
        one=lambda value: stackdriver("a", value={} if value is None else {"doubleValue": value}),
        empty={"timeSeriesData": []},
        several=stackdriver("pod-1", "pod-2"),
        named=("pod-1", "pod-2"),
        text_value=stackdriver("a", value={"stringValue": "many"}),
        refusal=({"error": {"code": 400, "message": "Could not parse the MQL", "status": "INVALID_ARGUMENT"}}, "Could not parse the MQL"),
        needed=("project",),
        path="/v3/projects/my-project/timeSeries:query",
        credentials=lambda seen: seen.headers["authorization"],
        says="Bearer ya29.token",
        address=False,
    ),
    Case(
        kind="externalmetrics",
        query="shop/queue-length?labelSelector=app%3D{{ target }}%2Ctier%20in%20%28a%29",
        secret={"token": "k8s-secret"},
        one=lambda value: external("a", value="" if value is None else str(value)),
        empty=external(),
        several=external("host-1", "host-2"),
        named=("host-1", "host-2"),
        text_value=external("a", value="many"),
        refusal=({"kind": "Status", "status": "Failure", "message": "no such metric", "code": 404}, "no such metric"),
        needed=(),
        path="/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/queue-length",
        credentials=lambda seen: seen.headers["authorization"],
        says="Bearer k8s-secret",
        error_status=404,
    ),
]
BY_KIND = {case.kind: case for case in CASES}
