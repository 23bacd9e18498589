"""The provider against InfluxDB 2 itself: its Flux, its annotated CSV, its tokens and organisations."""

import json
import time
import urllib.request
from dataclasses import dataclass
from itertools import count

import pytest

from tests.metrics.support import ask, cluster_with, probe
from tests.testbed.service import program, running

pytestmark = pytest.mark.slow

TOKEN, ORG, BUCKET = "a-token-of-this-test-alone", "shop-org", "shop"
RECENT = f'from(bucket: "{BUCKET}") |> range(start: -1m)'


@dataclass
class Influxdb:
    """One that runs, and holds nothing but what tests write."""

    address: str

    def post(self, path, body):
        request = urllib.request.Request(self.address + path, body.encode(), {"Authorization": f"Token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def write(self, points):
        """Each point is a line of the line protocol without its time, and how many seconds ago it was."""
        lines = "\n".join(f"{line} {int(time.time()) - ago}" for line, ago in points.items())
        self.post(f"/api/v2/write?org={ORG}&bucket={BUCKET}&precision=s", lines)

    def cluster(self, query, *, token=TOKEN, org=ORG):
        return cluster_with("influxdb", query, secret={"token": token, "org": org}, address=self.address)

    async def ask(self, query, *, name="podinfo", **credentials):
        return await ask(self.cluster(query, **credentials), timeout=20.0, name=name)

    async def value(self, query, **more):
        sample = await self.ask(query, **more)
        assert sample.error == ""
        return sample.value


@pytest.fixture(scope="module")
def influxdb(tmp_path_factory):
    influxd, folder = program("influxd"), tmp_path_factory.mktemp("influxdb")

    def command(port):
        files = [f"--bolt-path={folder}/meta.bolt", f"--sqlite-path={folder}/meta.sqlite", f"--engine-path={folder}/engine"]
        return [influxd, *files, f"--http-bind-address=127.0.0.1:{port}", "--reporting-disabled", "--log-level=warn"]

    with running("influxd", command, probe="/health", folder=folder) as address:
        one = Influxdb(address)
        first = {"username": "admin", "password": "a-long-password", "org": ORG, "bucket": BUCKET, "token": TOKEN}
        one.post("/api/v2/setup", json.dumps(first))
        yield one


@pytest.fixture
def app(_numbers=count()):
    """The name of an application that no other test writes of."""
    return f"app{next(_numbers)}"


async def test_a_query_over_several_lines_with_comments_is_understood(influxdb, app):
    influxdb.write({f"errors,app={app} value=1.5": 30, f"errors,app={app} value=2.5": 10, f"errors,app={app} value=900": 300})
    query = """
      from(bucket: "shop")
        |> range(start: -1m)  // the last minute
        |> filter(fn: (r) => r._measurement == "errors" and r.app == "{{ target }}")
        |> mean()
    """
    assert await influxdb.value(query, name=app) == 2.0


@pytest.mark.parametrize(
    ("field", "value"),
    [("0.1", 0.1), ("-3i", -3.0), ("18446744073709551615u", 18446744073709551615.0), ("1e300", 1e300)],
    ids=["double", "long", "unsignedLong", "large"],
)
async def test_numbers_of_every_type_count(influxdb, app, field, value):
    influxdb.write({f"{app} value={field}": 10})
    assert await influxdb.value(f'{RECENT} |> filter(fn: (r) => r._measurement == "{app}") |> last()') == value


async def test_counted_rows_are_a_whole_number(influxdb, app):
    influxdb.write({f"{app} value=1": 30, f"{app} value=2": 10})
    assert await influxdb.value(f'{RECENT} |> filter(fn: (r) => r._measurement == "{app}") |> count()') == 2


async def test_the_first_record_counts(influxdb, app):
    influxdb.write({f"{app} value=1": 30, f"{app} value=2": 20, f"{app} value=3": 10})
    rows = f'{RECENT} |> filter(fn: (r) => r._measurement == "{app}")'
    assert await influxdb.value(rows) == 1
    assert await influxdb.value(rows + ' |> sort(columns: ["_time"], desc: true)') == 3


async def test_infinity_is_a_number(influxdb, app):
    influxdb.write({f"{app} value=0": 10})
    rows = f'{RECENT} |> filter(fn: (r) => r._measurement == "{app}")'
    assert await influxdb.value(rows + " |> map(fn: (r) => ({r with _value: 1.0 / r._value}))") == float("inf")
    assert await influxdb.value(rows + " |> map(fn: (r) => ({r with _value: -1.0 / r._value}))") == float("-inf")


@pytest.mark.parametrize(
    "rest",
    [
        ' |> filter(fn: (r) => r._measurement == "no such")',
        ' |> filter(fn: (r) => r._measurement == "{{ target }}") |> range(start: -30m, stop: -20m)',
        ' |> filter(fn: (r) => r._measurement == "{{ target }}") |> map(fn: (r) => ({r with _value: 0.0 / r._value}))',
        ' |> filter(fn: (r) => r._measurement == "{{ target }}") |> filter(fn: (r) => r._value > 5.0) |> mean()',
        ' |> filter(fn: (r) => r._measurement == "{{ target }}") |> aggregateWindow(every: 5s, fn: mean) |> limit(n: 1)',
    ],
    ids=["no rows", "another window", "not a number", "none that passes", "a null"],
)
async def test_nothing_is_no_data(influxdb, app, rest):
    influxdb.write({f"{app} value=0": 10})
    sample = await influxdb.ask(RECENT + rest, name=app)
    assert (sample.no_data, sample.value, sample.error) == (True, None, "")


async def test_several_series_are_an_error_that_names_them(influxdb, app):
    influxdb.write({f"{app},pod=one value=1": 10, f'{app},pod=t\\,"w\\ o value=2': 10})
    sample = await influxdb.ask(f'{RECENT} |> filter(fn: (r) => r._measurement == "{app}") |> last()')
    assert sample.value is None
    assert sample.error.endswith('2 series where one is needed (sum or filter them): pod=one; pod=t,"w o')


async def test_two_results_are_an_error(influxdb, app):
    influxdb.write({f"{app} value=1": 10})
    sample = await influxdb.ask(
        f'a = {RECENT} |> filter(fn: (r) => r._measurement == "{app}")\na |> min() |> yield(name: "a")\na |> max() |> yield(name: "b")'
    )
    assert sample.error.endswith("result=a; result=b")


@pytest.mark.parametrize(
    ("field", "says"),
    [('"many"', "of type string where a number is needed: many"), ("true", "of type boolean where a number is needed: true")],
)
async def test_what_is_no_number_is_an_error(influxdb, app, field, says):
    influxdb.write({f"{app} value={field}": 10})
    assert says in (await influxdb.ask(f'{RECENT} |> filter(fn: (r) => r._measurement == "{app}")')).error


async def test_rows_without_a_value_are_an_error(influxdb, app):
    influxdb.write({f"{app},pod=one value=1": 10})
    sample = await influxdb.ask(f'{RECENT} |> filter(fn: (r) => r._measurement == "{app}") |> keep(columns: ["pod"])')
    assert "without a column _value" in sample.error


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (f"{RECENT} |> nosuch()", "400: error @1:46-1:52: undefined identifier nosuch"),
        (f"{RECENT} |> filter(", "expected RPAREN, got EOF"),
        ('from(bucket: "none") |> range(start: -1m)', 'could not find bucket "none"'),
        (f'from(bucket: "{BUCKET}")', "cannot submit unbounded read"),
        ("x = 1", "returns no streaming data"),
        ('import "array"\narray.from(rows: [{_value: int(v: "x")}])', 'cannot convert string "x" to int'),
    ],
)
async def test_a_bad_query_fails_with_what_influxdb_says_of_it(influxdb, query, says):
    sample = await influxdb.ask(query)
    assert sample.value is None
    assert says in sample.error


async def test_what_fails_while_it_computes_is_an_error(influxdb, app):
    influxdb.write({f"{app} value=1": 30, f"{app} value=2": 10})
    rows = f'{RECENT} |> filter(fn: (r) => r._measurement == "{app}")'
    late = rows + ' |> map(fn: (r) => ({r with _value: if r._value > 1.5 then die(msg: "too much") else 1.0}))'
    assert "too much" in (await influxdb.ask(late)).error


async def test_credentials_that_it_does_not_know_are_an_error_that_keeps_them(influxdb):
    sample = await influxdb.ask(RECENT, token="another-token")
    assert "does not accept the credentials (401): unauthorized access" in sample.error
    assert "another-token" not in sample.error
    assert 'organization name "***" not found' in (await influxdb.ask(RECENT, org="elsewhere")).error  # it is of the Secret, too


async def test_it_is_online_with_the_right_credentials_alone(influxdb):
    assert await probe(influxdb.cluster(RECENT), timeout=20.0) == ()
    (problem,) = await probe(influxdb.cluster(RECENT, token="another-token"), timeout=20.0)
    assert "401" in problem
