"""Which number of an answer counts, kind by kind; and that no answer at all breaks a provider."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.metrics import cloudwatch, datadog, dynatrace, externalmetrics, graphite, influxdb, keptn, newrelic, splunk, stackdriver
from canary.metrics.base import Refused
from tests.metrics import cases


def test_datadog_newest_bucket_that_is_over():
    now = 1_000_000.0
    series = {"interval": 60, "pointlist": [[(now - 600) * 1000, 1.0], [(now - 70) * 1000, 2.0], [(now - 30) * 1000, 3.0]]}
    assert datadog.picked({"series": [series]}, now) == 2.0  # the last one has 30 seconds to go
    assert datadog.picked({"series": [series]}, now + 40) == 3.0
    series["pointlist"][1][1] = None
    assert datadog.picked({"series": [series]}, now) == 1.0
    del series["interval"]
    assert datadog.picked({"series": [series]}, now) == 3.0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"status": "error", "error": "Rate limited"}, "Rate limited"),
        ({"series": [{"pointlist": [5]}]}, "not [time, value]"),
        ({"series": [{"pointlist": [[None, 5]]}]}, "no time"),
        ({"series": [{"pointlist": [[1, True]]}]}, "a boolean"),
    ],
)
def test_datadog_refuses(body, says):
    with pytest.raises(Refused, match=".*") as caught:
        datadog.picked(body, 1e9)
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("results", "value"),
    [
        ([{"result": 1.5}], 1.5),
        ([{"average": 2.5}], 2.5),
        ([{"count": 0}], 0.0),
        ([{"result": None}], None),
        ([{"result": 3, "beginTimeSeconds": 1}], 3.0),
        ([{}], None),
    ],
)
def test_newrelic_result_or_the_only_field(results, value):
    assert newrelic.picked({"results": results}) == value


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"results": [{"average": 1, "count": 2}]}, "several fields"),
        ({"results": [{"percentiles": {"95": 0.2}}]}, "an object"),
        ({"facets": [{"name": "a", "results": []}, {"name": "b", "results": []}]}, '2 facets where one number is needed: ["a", "b"]'),
    ],
)
def test_newrelic_refuses(body, says):
    with pytest.raises(Refused) as caught:
        newrelic.picked(body)
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("datapoints", "value"),
    [([[1, 1], [2, 2]], 2.0), ([[1, 1], [None, 2]], 1.0), ([["3.5", 1]], 3.5), ([["NaN", 1]], None), ([[None, 1]], None), ([], None)],
)
def test_graphite_last_that_is_not_null(datapoints, value):
    assert graphite.picked([{"target": "t", "datapoints": datapoints}]) == value


def test_dynatrace_wants_one_value_of_one_metric():
    two = cases.dynatrace_data("a")
    two["result"][0]["data"][0]["values"] = [1, 2]
    with pytest.raises(Refused, match="2 values in time"):
        dynatrace.picked(two)
    two = cases.dynatrace_data("a")
    two["result"].append({"metricId": "other", "data": []})
    with pytest.raises(Refused, match="m; other"):
        dynatrace.picked(two)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (cases.csv("a", value="3", datatype="long"), 3.0),
        (cases.csv("a", value="3", datatype="unsignedLong"), 3.0),
        (cases.csv("a", value="NaN"), None),
        (cases.csv("a").replace("#default,_result,,,,", "#default,_result,,,7,").replace(",1.5,", ",,"), 7.0),
        ("", None),
        ("\r\n", None),
    ],
)
def test_influxdb_numbers_of_every_type(text, value):
    assert influxdb.picked(text) == value


def test_influxdb_first_record_of_one_series():
    text = cases.csv("a").rstrip() + "\r\n,,0,2024-01-01T00:01:00Z,99,a\r\n\r\n"
    assert influxdb.picked(text) == 1.5


def test_influxdb_series_are_named_by_what_tells_them_apart():
    """A real group key begins with the times of the range and the field, the same in all."""
    text = cases.csv("host-1", "host-2").replace("false,false,false,false,true", "false,false,true,false,true")
    with pytest.raises(Refused, match=r": host=host-1; host=host-2$"):
        influxdb.picked(text)
    with pytest.raises(Refused, match=r": \(one more\); \(one more\)$"):
        influxdb.picked(cases.csv("host-1", "host-1"))


def test_influxdb_series_in_two_blocks_are_two():
    with pytest.raises(Refused, match="2 series"):
        influxdb.picked(cases.csv("a") + cases.csv("b", value="2", datatype="long"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (cases.csv("a", value="true", datatype="boolean"), "type boolean"),
        (",result,table\r\n,,0\r\n", "without a column _value"),
        (cases.csv("a").replace("#datatype", "#other"), "type unknown"),
    ],
)
def test_influxdb_refuses(text, says):
    with pytest.raises(Refused) as caught:
        influxdb.picked(text)
    assert says in caught.value.message


def test_splunk_newest_value_and_no_nulls():
    text = cases.signalflow("a", value=1)
    late = 'event: data\ndata: {"data": [{"tsId": "ts-a", "value": null}],\ndata: "logicalTimestampMs": 9000}\n\n'
    newer = late.replace("null", "5").replace("9000", "8000")
    assert splunk.picked(newer + late + text) == 5.0


def test_splunk_wants_the_whole_stream():
    with pytest.raises(Refused, match="ended before"):
        splunk.picked(cases.signalflow("a").replace("END_OF_CHANNEL", "X"))


def test_cloudwatch_newest_value_wherever_it_stands():
    body = cases.cloudwatch("e1", value=1)
    assert cloudwatch.picked(body) == 1
    body["MetricDataResults"][0]["Timestamps"].reverse()
    assert cloudwatch.picked(body) == 999


@pytest.mark.parametrize("status", ["InternalError", "Forbidden"])
def test_cloudwatch_failure_of_one_result(status):
    body = cases.cloudwatch("e1")
    body["MetricDataResults"][0] |= {"StatusCode": status, "Messages": [{"Code": "x", "Value": "why"}]}
    with pytest.raises(Refused, match=status):
        cloudwatch.picked(body)


@pytest.mark.parametrize(
    ("value", "number"),
    [({"int64Value": "42"}, 42.0), ({"doubleValue": 0.5}, 0.5), ({"doubleValue": "NaN"}, None), ({}, None)],
)
def test_stackdriver_whole_numbers_count_too(value, number):
    assert stackdriver.picked(cases.stackdriver("a", value=value)) == number


@pytest.mark.parametrize("value", [{"boolValue": True}, {"distributionValue": {"count": "1"}}, {"stringValue": "1"}])
def test_stackdriver_refuses_what_is_no_number(value):
    with pytest.raises(Refused, match="no number"):
        stackdriver.picked(cases.stackdriver("a", value=value))


def test_stackdriver_refuses_half_an_answer_and_two_columns():
    with pytest.raises(Refused, match="only answer in part: deadline"):
        stackdriver.picked(cases.stackdriver("a") | {"partialErrors": [{"code": 4, "message": "deadline"}]})
    body = cases.stackdriver("a")
    body["timeSeriesData"][0]["pointData"][0]["values"] *= 2
    with pytest.raises(Refused, match=r"2 values a point where one is needed: \[\"value.x\"\]"):
        stackdriver.picked(body)


@pytest.mark.parametrize(
    ("text", "value"),
    [("42", 42), ("1500m", 1.5), ("2k", 2000), ("1Ki", 1024), ("1e3", 1000), ("-5", -5), ("1E", 1e18), ("0", 0), ("250u", 0.00025)],
)
def test_external_metrics_are_quantities(text, value):
    assert externalmetrics.quantity(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("text", ["", "x", "1x", "1.2.3", "Ki", "NaN", "1 k"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(Refused, match="quantity"):
        externalmetrics.quantity(text)


# ------------------------------------------------------------------------------------ nothing breaks a provider

PICKERS = [
    lambda body: datadog.picked(body, 1e9),
    newrelic.picked,
    graphite.picked,
    dynatrace.picked,
    cloudwatch.picked,
    stackdriver.picked,
    externalmetrics.picked,
    keptn.picked,
]
NAMES = st.sampled_from(
    "series pointlist interval error results result facets datapoints target data values MetricDataResults Values Timestamps Id StatusCode"
    " timeSeriesData pointData doubleValue int64Value partialErrors timeSeriesDescriptor items value metricLabels status".split()
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
BODIES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12)


@given(BODIES, st.sampled_from(PICKERS))
def test_any_json_is_a_number_or_nothing_or_refused(body, picker):
    try:
        found = picker(body)
    except Refused:
        return
    assert found is None or isinstance(found, float)
    assert found == found


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(["#datatype,double\n", ",_value\n", ",1\n", "#group,true\n", "\n", ",error\n", '"']), max_size=8).map(
        "".join
    )
)
def test_any_text_is_read_as_csv_or_refused(text):
    try:
        influxdb.picked(text)
    except Refused:
        pass


@given(st.lists(st.tuples(st.sampled_from(["event", "data", "id", ""]), st.text(max_size=20) | st.just("metadata")), max_size=8), BODIES)
def test_any_stream_is_read_or_refused(lines, body):
    import json

    text = "\n".join(f"{name}: {value}" for name, value in lines) + f"\n\nevent: data\ndata: {json.dumps(body)}\n\n"
    text += f"event: metadata\ndata: {json.dumps(body)}\n\nevent: control-message\ndata: {json.dumps(body)}\n\n"
    try:
        splunk.picked(text)
    except Refused:
        pass
