"""The pure parts of `python -m bench.git`: the repository that it generates, its figures, what it calls lost, what it prints. Nothing here is timed."""

import json
from collections import Counter

import pytest
import yaml

from bench.git import monorepo
from bench.git.__main__ import main
from bench.git.figures import Drift, Push, Told, Traffic, Used, Written, quantile, wrong
from bench.git.report import plain, report
from canary.gitops import revert
from canary.gitops.sites import Workload

SMALL = monorepo.Shape(200)
USED = Used(peak=90.0, before=60.0, git=80.0, disk=12.5, cpu=20.0)


def drift(**more):
    usual = {
        "files": 200,
        "ready": 1.0,
        "first": 5.0,
        "on_branch": [1.0] * 98 + [2.0, 3.0],
        "noted": [1.5] * 100,
        "fetches": 505,
        "pushes": 202,
    }
    return Drift(**(usual | more), used=USED)


def traffic(**more):
    usual = {
        "canaries": 50, "clusters": 2, "seconds": 60.0, "reverts": 200, "records": 200, "pushes": {"main": 30, "canary-outcomes": 20},
        "people": 200, "conflicts": 7, "fetches": 90, "latencies": [4.0] * 200, "wrong": [],
    }  # fmt: skip
    return Traffic(**(usual | more), used=USED)


class TestMonorepo:
    def test_it_has_as_many_files_as_it_was_asked_for(self):
        paths = [path for path, _ in monorepo.contents(SMALL)]
        assert len(paths) == len(set(paths)) == 200
        assert sum(path.endswith("kustomization.yaml") for path in paths) == 3 * SMALL.apps

    def test_names_of_apps_differ(self):
        names = [monorepo.app(number) for number in range(2500)]
        assert len(set(names)) == 2500

    def test_every_manifest_is_yaml(self):
        for path, text in monorepo.contents(SMALL):
            if path.endswith(".yaml"):
                assert isinstance(yaml.safe_load(text), dict), path

    def test_the_tag_of_an_app_is_where_the_product_finds_it(self):
        name = monorepo.app(3)
        files = {path: text.encode() for path, text in monorepo.contents(SMALL)}
        files[monorepo.tag_path(name)] = monorepo.tag_file(name, "6.1.0").encode()
        images = {name: monorepo.image(name, "6.1.0")}, {name: monorepo.image(name, monorepo.FIRST)}
        plan = revert.plan(files, Workload("apps", "Deployment", "prod", name, *images))
        assert plan.edits == {monorepo.tag_path(name): monorepo.tag_file(name, monorepo.FIRST).encode()}, plan.explanation

    def test_its_history_ends_before_it_was_made(self):
        stream = b"".join(monorepo.stream(monorepo.Shape(20), 1_000_000_000))
        times = [int(line.split()[-2]) for line in stream.splitlines() if line.startswith(b"committer")]
        assert len(times) == monorepo.HISTORY + 1
        assert times == sorted(times)
        assert times[-1] == 1_000_000_000 - monorepo.PACE


class TestFigures:
    @pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1, 100), (0, 1)])
    def test_a_quantile_is_a_value_that_was_measured(self, share, value):
        assert quantile(share, range(100, 0, -1)) == value

    def test_drift_is_told_by_its_worst_cases_too(self):
        assert (drift().at(0.5), drift().at(0.99), drift().at(1)) == (1.0, 2.0, 3.0)

    def test_write_backs_are_records_and_reverts(self):
        assert traffic(seconds=120.0).per_minute == 200

    def test_a_push_that_was_begun_and_not_taken_is_a_conflict(self):
        assert Told((Push("main", "a", 1.0), Push("main", "b", 2.0)), fetches=3, attempts=5).conflicts == 3

    def test_json_keeps_every_figure(self):
        kept = json.loads(json.dumps([plain(drift()), plain(traffic())]))
        assert [(one["scenario"], one["used"]["disk"]) for one in kept] == [("drift", 12.5), ("traffic", 12.5)]
        assert (kept[0]["p99"], kept[1]["per_minute"]) == (2.0, 400)


RUNS = (Written("r1", "c/prod/a/r1.json", "one"), Written("r2", "c/prod/b/r2.json", "two"))
GOOD = {
    "reverts": [("one", "revert r1"), ("two", "revert r2")],
    "records": ["c/prod/a/r1.json", "c/prod/b/r2.json", "c/prod/a/promoted.json"],
    "people": Counter({"x": 1, "y": 1}),
    "asked": 2,
}


class TestWrong:
    def found(self, **more):
        return wrong(RUNS, **(GOOD | more))

    def test_nothing_is_wrong_when_everything_is_there_once(self):
        assert self.found() == []

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"reverts": [("one", "revert r1")]}, "revert r2: 0 commits"),
            ({"reverts": [*GOOD["reverts"], ("three", "revert r2")]}, "revert r2: 2 commits"),
            ({"reverts": [("one", "revert r1"), ("other", "revert r2")]}, "revert r2: is other, and was noted as two"),
            ({"reverts": [*GOOD["reverts"], ("four", "revert r9")]}, "revert r9: nobody asked for it"),
            ({"records": GOOD["records"][1:]}, "c/prod/a/r1.json is missing"),
            ({"people": Counter({"x": 1})}, "people made 2 commits, 1 are in the history"),
        ],
    )
    def test_what_is_lost_or_done_twice_is_told(self, change, said):
        assert self.found(**change) == [said]


class TestReport:
    def test_figures_stand_in_a_table_each(self):
        first, second = report(drift(), traffic()).split("\n\n")
        cells = dict(line.strip("| ").split(" | ") for line in first.splitlines()[2:])
        assert {key.strip(): value.strip() for key, value in cells.items()}["p99"] == "2 s"
        assert "one revert at a time, 200 files, 100 reverts" in first
        assert "50 canaries of 2 clusters" in second
        assert "WRONG" not in second

    def test_what_was_lost_is_not_hidden_in_the_table(self):
        assert report(None, traffic(wrong=["revert r2: 0 commits"])).endswith("WRONG: revert r2: 0 commits")


class TestCommandLine:
    @pytest.mark.parametrize("arguments", [["--reverts", "0"], ["--files", "many"], ["speed"]])
    def test_what_cannot_be_measured_is_one_clear_line(self, arguments, capsys):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "error: argument" in capsys.readouterr().err
