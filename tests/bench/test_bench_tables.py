"""The pure parts of the benchmark: what it reads, counts, compares and prints. Nothing here is timed."""

import json

import pytest

from bench import flows, parsing
from bench.__main__ import Plan, main, plan
from bench.bars import Bar, bars
from bench.contestants import UsageError
from bench.figures import Fleet, Release, Rollout, Spent, plain
from bench.report import report
from bench.stub import answer
from bench.tables import number, pivot, ratio, table

SCRAPE = """\
# HELP canary_api_requests_total Requests sent to the API server.
# TYPE canary_api_requests_total counter
canary_api_requests_total{code="200",resource="canaries/status",verb="patch"} 3.0
canary_api_requests_total{code="409",resource="canaries/status",verb="patch"} 1.0
canary_api_requests_total{code="201",resource="a \\"quoted\\" one",verb="create"} 2e+00
canary_api_requests_total_more{code="200",resource="x",verb="get"} 9
wait_seconds_bucket{le="0.1"} 50
wait_seconds_bucket{le="1"} 90
wait_seconds_bucket{le="+Inf"} 100
up 1
"""


def spent(**more: object) -> Spent:
    """Ten seconds of an operator that did something."""
    usual: dict[str, object] = {
        "seconds": 10.0, "cpu_seconds": 0.5, "rss_mib": 60.0, "peak_rss_mib": 61.0, "queries": 10,
        "requests": {"patch canaries/status": 10, "watch services": 2, "update leases": 5},
    }  # fmt: skip
    return Spent(**(usual | more))  # type: ignore[arg-type]


def rollout(contestant: str, *, interval: str = "10s", wall: float = 50.0, **more: object) -> Rollout:
    releases = [
        Release(bootstrap=1, reaction=0.1, wall=wall),
        Release(bootstrap=1, reaction=0.3, wall=wall + 2),
        Release(bootstrap=1, reaction=0.2, wall=wall + 1),
    ]
    return Rollout(contestant=contestant, interval=interval, releases=releases, spent=[spent(**more)] * 3)


def fleet(contestant: str, *, size: int = 4, all_seconds: float = 52.0, rest: Spent | None = None, **more: object) -> Fleet:
    releases = [Release(bootstrap=1, reaction=number / 10, wall=50.0 + number) for number in range(1, size + 1)]
    return Fleet(
        contestant=contestant, size=size, interval="10s", bootstrap_seconds=3, all_seconds=all_seconds, releases=releases,
        bootstrap=spent(), rest=rest or spent(requests={}), release=spent(**more),
    )  # fmt: skip


class TestParsing:
    def test_a_family_is_picked_by_its_whole_name(self):
        assert [value for _, value in parsing.samples(SCRAPE, "canary_api_requests_total")] == [3, 1, 2]
        assert list(parsing.samples(SCRAPE, "up")) == [({}, 1.0)]

    def test_counters_are_summed_over_the_labels_that_nobody_asked_for(self):
        counted = parsing.counted(SCRAPE, "canary_api_requests_total", ("verb", "resource"))
        assert counted == {("patch", "canaries/status"): 4, ("create", 'a "quoted" one'): 2}

    def test_a_quantile_lies_linearly_in_its_bucket(self):
        buckets = parsing.buckets(SCRAPE, "wait_seconds")
        assert parsing.quantile(0.25, buckets) == pytest.approx(0.05)
        assert parsing.quantile(0.7, buckets) == pytest.approx(0.55)

    def test_a_quantile_beyond_the_last_bound_is_that_bound(self):
        assert parsing.quantile(0.99, parsing.buckets(SCRAPE, "wait_seconds")) == 1

    def test_without_observations_there_is_no_quantile(self):
        buckets = parsing.buckets(SCRAPE, "wait_seconds")
        assert parsing.quantile(0.5, {}) is None
        assert parsing.quantile(0.5, parsing.since(buckets, buckets)) is None

    def test_a_stage_is_what_came_since_it_began(self):
        assert parsing.since({0.1: 2.0}, {0.1: 5.0, 1.0: 7.0}) == {0.1: 3.0, 1.0: 7.0}


class TestFlows:
    def test_every_schema_has_a_name_of_its_own_and_is_exempt(self):
        schemas = flows.schemas()
        assert len({schema["metadata"]["name"] for schema in schemas}) == len(schemas)
        assert {schema["spec"]["priorityLevelConfiguration"]["name"] for schema in schemas} == {"exempt"}

    def test_the_catch_all_comes_last_in_time_and_in_rank(self):
        *narrow, rest = flows.schemas()
        assert rest["spec"]["matchingPrecedence"] > max(schema["spec"]["matchingPrecedence"] for schema in narrow)

    def test_every_schema_is_counted_under_what_it_matches(self):
        name = "apiserver_flowcontrol_dispatched_requests_total"
        lines = [f'{name}{{flow_schema="{s["metadata"]["name"]}",priority_level="exempt"}} 1' for s in flows.schemas()]
        found = flows.counts("\n".join([*lines, f'{name}{{flow_schema="system-nodes",priority_level="system"}} 70']))
        assert set(found.values()) == {1}
        assert len(found) == len(lines)
        assert {("patch", "canaries/status"), ("create", "events"), (flows.OTHER, flows.OTHER)} <= set(found)

    def test_only_watches_and_leases_are_upkeep(self):
        assert spent().beyond_upkeep == 10
        assert spent(requests={"watch services": 3, "update leases": 1}).beyond_upkeep == 0
        assert spent(requests={"list services": 1, "other other": 2}).beyond_upkeep == 3


class TestTables:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (None, "-"),
            (0, "0 s"),
            (0.05, "0.05 s"),
            (0.026, "0.03 s"),
            (9.54, "9.54 s"),
            (50.47, "50.5 s"),
            (102.34, "102 s"),
            (15400, "15,400 s"),
        ],
    )
    def test_numbers_have_three_digits(self, value, shown):
        assert number(value, "s") == shown

    @pytest.mark.parametrize(
        ("ours", "theirs", "shown"), [(34, 154, "0.22x"), (300, 20, "15.0x"), (0, 0, "1x"), (1, 0, "-"), (None, 3, "-"), (3, None, "-")]
    )
    def test_ratios_say_how_many_times_the_peers_figure_ours_is(self, ours, theirs, shown):
        assert ratio(ours, theirs) == shown

    def test_columns_are_aligned(self):
        assert table(["what", "n"], [["requests", "1,000"], ["x", "2"]]).splitlines() == [
            "| what     |     n |",
            "| -------- | ----: |",
            "| requests | 1,000 |",
            "| x        |     2 |",
        ]

    def test_counts_are_ordered_by_weight_and_end_in_totals(self):
        lines = pivot({"ours": {"a": 1, "b": 5}, "peer": {"c": 3}}, title="t").splitlines()
        assert [line.split("|")[1].strip() for line in lines[2:]] == ["b", "c", "a", "all"]
        assert [cell.strip() for cell in lines[-1].split("|")[1:-1]] == ["all", "6", "3"]


class TestBars:
    def test_a_bar_is_met_at_its_limit_and_missed_above_it(self):
        assert [Bar("x", value, 45).verdict for value in (44, 45, 45.1, None)] == ["pass", "pass", "FAIL", "not measured"]

    def test_requests_are_judged_as_the_server_counted_them(self):
        verdicts = {bar.what: bar.verdict for bar in bars([rollout("ours", requests={"create events": 46})], [])}
        assert verdicts["one canary, interval 10s: requests per rollout"] == "FAIL"

    def test_one_request_at_rest_is_too_many(self):
        def verdict(requests: dict[str, int]) -> str:
            judged = bars([], [fleet("ours", rest=spent(requests=requests))])
            return next(bar.verdict for bar in judged if "at rest beyond" in bar.what)

        assert verdict({"watch services": 9}) == "pass"
        assert verdict({"get services": 1}) == "FAIL"

    def test_a_fleet_is_compared_with_one_alone_at_the_same_interval(self):
        def together(*alone: Rollout) -> Bar:
            return next(bar for bar in bars(alone, [fleet("ours", all_seconds=56.1)]) if "relative to one" in bar.what)

        assert together(rollout("ours"), rollout("ours", interval="1s", wall=5)).value == pytest.approx(1.1)
        assert together(rollout("ours", interval="1s"), rollout("peer")).verdict == "not measured"

    def test_the_peer_is_not_judged(self):
        assert bars([rollout("peer")], [fleet("peer")]) == []


class TestFigures:
    def test_medians_are_over_the_repetitions(self):
        one = rollout("ours")
        assert (one.median("wall"), one.median("reaction"), one.median("total")) == (51.0, 0.2, 17)

    def test_quantiles_are_of_single_releases(self):
        it = fleet("ours", size=20)
        assert (it.at(0.5, "wall"), it.at(0.95, "wall"), it.at(1.0, "wall")) == (60.0, 69.0, 70.0)

    def test_json_keeps_every_figure(self):
        kept = json.loads(json.dumps(plain(fleet("ours"))))
        assert kept["scenario"] == "fleet"
        assert kept["release"]["requests"]["patch canaries/status"] == 10


class TestReport:
    def test_contestants_stand_side_by_side_with_their_ratio(self):
        text = report([rollout("ours"), rollout("ours", interval="1s", wall=5), rollout("peer", wall=100)], [])
        equal, short, *_ = text.split("\n\n")
        line = next(line for line in equal.splitlines() if "Succeeded" in line)
        assert [cell.strip() for cell in line.split("|")[2:-1]] == ["51 s", "101 s", "0.50x"]
        line = next(line for line in short.splitlines() if "Succeeded" in line)
        assert [cell.strip() for cell in line.split("|")[2:-1]] == ["6 s", "-", "-"]

    def test_requests_of_a_fleet_are_shown_per_rollout(self):
        text = report([], [fleet("ours"), fleet("peer", requests={"get deployments": 100})])
        (line,) = (line for line in text.splitlines() if line.startswith("| get deployments"))
        assert [cell.strip() for cell in line.split("|")[2:-1]] == ["-", "25"]

    def test_what_our_own_counter_saw_is_shown_with_the_answers(self):
        assert "patch canaries/status 409" in report([], [fleet("ours", own_requests={"patch canaries/status 409": 3})])


class TestCommandLine:
    def test_without_names_everything_is_measured(self):
        assert plan([]) == Plan(True, (100,))

    def test_a_fleet_may_have_a_size(self):
        assert plan(["fleet", "500", "fleet"]) == Plan(False, (500, 100))
        assert plan(["rollout"]) == Plan(True, ())

    @pytest.mark.parametrize("words", [["fleets"], ["500"], ["fleet", "0"]])
    def test_what_cannot_be_measured_is_refused(self, words):
        with pytest.raises(UsageError):
            plan(words)

    def test_a_peer_without_a_binary_is_one_clear_line(self, monkeypatch, capsys):
        monkeypatch.delenv("FLAGGER_BIN", raising=False)
        assert main(["rollout", "--peer"]) == 2
        assert capsys.readouterr().err.splitlines() == [
            "error: --peer: set FLAGGER_BIN to the peer's binary (the project does not build it)"
        ]


class TestStub:
    @pytest.mark.parametrize(
        ("target", "body", "value"),
        [
            ("/api/v1/query?query=vector%281%29&time=1", "", "1"),
            ("/api/v1/query", "query=vector(1)", "1"),
            ("/api/v1/query?query=sum(rate(x%5B1m%5D))", "", "100"),
            ("/api/v1/query?query=vector(1)%20*%202", "", "100"),
        ],
    )
    def test_the_health_check_gets_one_and_every_other_query_a_hundred(self, target, body, value):
        (sample,) = answer(target, body)["data"]["result"]  # type: ignore[index]
        assert sample["value"][1] == value
