"""The provider against graphite-web itself, with series in whisper files: what other tests only believe of it.

Points are written one every ten seconds, each some seconds before now. Every test has metrics of its own, so none sees another's.
"""

import json
import subprocess
import urllib.request
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.metrics.support import ask, cluster_with, probe
from tests.testbed.service import program, running

pytestmark = pytest.mark.slow

SERVER = Path(__file__).parents[1] / "testbed" / "graphite_web.py"
WRITE = """
import os, sys, time, whisper
path, *points = sys.argv[1:]
os.makedirs(os.path.dirname(path), exist_ok=True)
os.path.exists(path) or whisper.create(path, [(10, 360)])
for point in points:
    ago, value = point.split(":")
    whisper.update(path, float(value), time.time() - float(ago))
"""


@dataclass
class Graphite:
    """One that runs. `write("a.b", {15: 2.0})`: the value of 15 seconds ago."""

    address: str
    python: Path
    folder: Path

    def write(self, metric, points):
        path = self.folder / "whisper" / Path(*metric.split(".")).with_suffix(".wsp")
        arguments = [f"{ago}:{value}" for ago, value in points.items()]
        subprocess.run([self.python, "-c", WRITE, path, *arguments], check=True, timeout=30)

    async def ask(self, query, **more):
        return await ask(cluster_with("graphite", query, address=self.address), timeout=20.0, **more)

    async def value(self, query, **more):
        sample = await self.ask(query, **more)
        assert sample.error == ""
        return sample.value


@pytest.fixture(scope="module")
def graphite(tmp_path_factory):
    python, folder = program("graphite-web"), tmp_path_factory.mktemp("graphite")

    def command(port):
        return [python, SERVER, folder, str(port)]

    with running("graphite-web", command, probe="/render?target=x&format=json", folder=folder) as address:
        yield Graphite(address, python, folder)


@pytest.fixture
def app(_numbers=count()):
    """The name of an application that no other test writes of."""
    return f"app{next(_numbers)}"


async def test_the_newest_value_counts_also_when_the_last_moments_have_none(graphite, app):
    graphite.write(f"shop.{app}.errors", {55: 9, 35: 2.5})
    assert await graphite.value("target=shop.{{ target }}.errors&from=-1min", name=app) == 2.5
    graphite.write(f"shop.{app}.errors", {15: 0.1 + 0.2})
    assert await graphite.value("target=shop.{{ target }}.errors&from=-1min", name=app) == 0.1 + 0.2


async def test_a_query_over_several_lines_with_functions_is_understood(graphite, app):
    graphite.write(f"shop.{app}.errors", {35: 1, 15: 3})
    graphite.write(f"shop.{app}.requests", {35: 100, 15: 50})
    query = """
      target=alias(asPercent(
        sumSeries(shop.{{ target }}.err*),
        sumSeries(shop.{{ target }}.requests)), 'errors, %25 %26 more')
      &from=-1min
    """
    assert await graphite.value(query, name=app) == 6.0


async def test_the_window_is_the_querys(graphite, app):
    graphite.write(f"shop.{app}.errors", {600: 8, 300: 4})
    assert (await graphite.ask(f"target=shop.{app}.errors&from=-1min")).no_data
    assert await graphite.value(f"target=shop.{app}.errors&from=-6min") == 4
    assert await graphite.value(f"target=shop.{app}.errors&from=-12min&until=-9min") == 8


@pytest.mark.parametrize(
    "query",
    [
        "target=shop.nowhere.errors&from=-1min",
        "target=sumSeries(shop.nowhere.*)&from=-1min",
        "target=shop.{{ target }}.errors&from=-1min",
        "target=asPercent(shop.{{ target }}.zero,shop.{{ target }}.zero)&from=-1min",
    ],
    ids=["no metric", "no series", "only nulls", "a share of nothing"],
)
async def test_nothing_is_no_data(graphite, app, query):
    graphite.write(f"shop.{app}.errors", {300: 4})
    graphite.write(f"shop.{app}.zero", {15: 0})
    sample = await graphite.ask(query, name=app)
    assert (sample.no_data, sample.value, sample.error) == (True, None, "")


async def test_several_series_are_an_error_that_names_them(graphite, app):
    graphite.write(f"shop.{app}.a", {15: 1})
    graphite.write(f"shop.{app}.b", {15: 1})
    for query in (f"target=shop.{app}.*", f"target=shop.{app}.a&target=shop.{app}.b"):
        sample = await graphite.ask(query + "&from=-1min")
        assert sample.value is None
        assert f"2 series where one is needed (sum or filter them): shop.{app}.a; shop.{app}.b" in sample.error


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("target=nosuch(a.b)", "400: Invalid parameters (Received request for unknown function: nosuch)"),
        ("target=a.b&from=whenever", "400: Invalid parameters (Unknown day reference: whenever)"),
        ("target=a.b&from=-1min&until=-1min", "400: Invalid parameters (Invalid empty time range)"),
        ("target=movingAverage(shop.broken.a)", "500: TypeError: movingAverage() missing 1 required positional argument: 'windowSize'"),
        ("target=(a.b)", "500: pyparsing"),
    ],
)
async def test_a_bad_query_fails_with_what_graphite_says_of_it(graphite, query, says):
    graphite.write("shop.broken.a", {15: 1})
    sample = await graphite.ask(query)
    assert says in sample.error
    assert "<" not in sample.error
    assert "Traceback" not in sample.error


async def test_what_graphite_would_read_in_part_is_not_asked(graphite, app):
    graphite.write(f"shop.{app}.errors", {15: 1})
    for target, series in ((f"shop.{app}.errors)", 1), (f"sumSeries(shop.{app}.errors", 0)):
        with urllib.request.urlopen(f"{graphite.address}/render?target={target}&from=-1min&format=json") as answer:
            assert len(json.load(answer)) == series  # no error, and not what was meant
        assert "do not close" in (await graphite.ask(f"target={target}&from=-1min")).error


async def test_too_large_a_number_is_infinite_and_no_text(graphite, app):
    graphite.write(f"shop.{app}.errors", {15: -4})
    assert await graphite.value(f"target=scale(shop.{app}.errors,1e308)&from=-1min") == float("-inf")


async def test_an_answer_is_never_an_old_one_unless_the_query_takes_it(graphite, app):
    """Twice, since a minute may just have ended: its cache knows the time to the minute."""
    aged = f"target=shop.{app}.errors&from=-1min&cacheTimeout=60"
    for attempt in (0, 2):
        graphite.write(f"shop.{app}.errors", {15: attempt})
        before, fresh = await graphite.value(aged), await graphite.value(f"target=shop.{app}.errors&from=-1min")
        graphite.write(f"shop.{app}.errors", {5: attempt + 1})
        after = await graphite.value(aged)
        assert await graphite.value(f"target=shop.{app}.errors&from=-1min") == attempt + 1
        if before == after == fresh == attempt:
            return
    pytest.fail("graphite has no cache here: this test proves nothing")


async def test_it_is_online(graphite):
    assert await probe(cluster_with("graphite", "target=a", address=graphite.address), timeout=20.0) == ()


async def test_a_path_before_the_api_that_is_not_there_is_not(graphite):
    (problem,) = await probe(cluster_with("graphite", "target=a", address=graphite.address + "/elsewhere"), timeout=20.0)
    assert "answered 404" in problem
