"""`canary simulate`: real rules on drawn requests, repeatable, with advice that follows from the numbers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.forecasts import canary, manifest

QUICK = ("--runs", 12, "--fault", "errors=20%")


def simulated(capsys, *arguments):
    assert canary("simulate", "--json", *arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_counted_checks_and_evidence_are_compared_on_the_same_service(capsys, tmp_path):
    path = manifest(tmp_path, judge="threshold")
    found = simulated(capsys, "--manifest", path, "--traffic", "100", "--compare", *QUICK)
    assert found["canary"] == "prod/podinfo"
    assert list(found["judges"]) == ["threshold", "guarded", "sequential"]
    checks, evidence = (found["judges"][judge]["errors=20%"] for judge in ("threshold", "sequential"))
    assert checks["rolledBack"] == evidence["rolledBack"] == 1
    assert checks["secondsToRollback"] == 300, "five checks, a minute each"
    assert evidence["secondsToRollback"] <= 75
    assert evidence["harmed"] < checks["harmed"] / 3
    assert all(judge["healthy"]["promoted"] == 1 for judge in found["judges"].values())
    assert found["judges"]["threshold"]["healthy"]["secondsToPromotion"] == 300
    said = {one["about"]: one["text"] for one in found["advice"]}
    assert "taken back after 5 min" in said["slow"]
    assert "errors=20% harms" in said["judge"]


def test_the_same_seed_gives_the_same_answer_and_another_one_does_not(capsys):
    ask = ("--traffic", "100", *QUICK)
    first, again, other = (simulated(capsys, *ask, "--seed", seed)["judges"] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_noisy_service_is_told_that_its_bound_is_near(capsys):
    found = simulated(capsys, "--traffic", "10", "--error-rate", "0.8%", *QUICK)
    assert found["judges"]["threshold"]["healthy"]["rolledBack"] > 0.1
    text = next(one["text"] for one in found["advice"] if one["about"] == "falseRollback")
    assert "0.8 % with a bound of 1 % (request-success-rate)" in text
    assert "judge: sequential" in text


def test_a_quiet_service_is_told_that_its_checks_see_nothing(capsys):
    text = next(one["text"] for one in simulated(capsys, "--traffic", "0.1", *QUICK)["advice"] if one["about"] == "falseRollback")
    assert "none in 80 % of windows" in text
    assert "noData: hold" in text


def test_what_a_quiet_service_may_allow_is_proposed_and_works(capsys):
    quiet = ("--traffic", "1", "--set", "judge=sequential", "--set", "sequential.minDuration=1m", "--runs", 5, "--fault", "errors=20%")
    before = simulated(capsys, *quiet)
    assert before["judges"]["sequential"]["healthy"]["undecided"] == 1
    text = next(one["text"] for one in before["advice"] if one["about"] == "undecided")
    assert "maxExcessPerHour: 60" in text
    after = simulated(capsys, *quiet, "--set", "sequential.maxExcessPerHour=60")
    assert after["judges"]["sequential"]["healthy"]["promoted"] >= 0.8


def test_a_fault_within_the_bounds_is_told_to_be_missed(capsys):
    found = simulated(capsys, "--traffic", "100", "--runs", 8, "--fault", "errors=0.5%", "--fault", "latency=1.3x")
    said = [one["text"] for one in found["advice"] if one["about"] == "missed"]
    assert len(said) == 2
    assert "errors=0.5% is promoted in 100 % of runs, and then causes 1 440 bad responses an hour" in said[0]
    assert "no traffic changes that" in said[0]


def test_a_window_shorter_than_two_scrapes_is_noticed(capsys):
    found = simulated(capsys, "--traffic", "100", "--scrape", "60s", *QUICK)
    assert found["judges"]["threshold"]["healthy"]["rolledBack"] == 1
    assert "fewer than two scrapes" in found["advice"][0]["text"]


def test_copies_come_before_users_and_bad_versions_end_on_them(capsys, tmp_path):
    path = manifest(tmp_path, mirror=True, mirrorWeight=50)
    found = simulated(capsys, "--manifest", path, "--traffic", "100", "--compare", *QUICK)
    assert (found["copied"], found["ignored"]) == (50, [])
    for judge in ("guarded", "sequential"):
        bad = found["judges"][judge]["errors=20%"]
        assert bad["rolledBackOnCopies"] == bad["rolledBack"] == 1
        assert bad["harmed"] == bad["canaryRequests"] == 0
    healthy = {judge: one["healthy"] for judge, one in found["judges"].items()}
    assert healthy["threshold"]["secondsOfCopies"] == healthy["guarded"]["secondsOfCopies"] == 60
    assert 90 <= healthy["sequential"]["secondsOfCopies"] <= 240
    assert all(one["promoted"] == 1 for one in healthy.values())
    plain = simulated(capsys, "--manifest", path, "--traffic", "100", "--set", "mirror=false", *QUICK)["judges"]["sequential"]["healthy"]
    assert (plain["rolledBackOnCopies"], plain["secondsOfCopies"]) == (0, None)


def test_people_are_told_of_copies(capsys, tmp_path):
    assert canary("simulate", "--manifest", manifest(tmp_path, mirror=True), "--traffic", "100", *QUICK) == 0
    shown = capsys.readouterr().out
    assert "Copies of all requests come before users." in shown
    assert re.search(r"It has copies for \d+ s before it meets its first users\.", shown)
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.startswith(("healthy", "errors"))}
    assert rows["errors=20%"][1:5] == ["100", "%", "100", "%"]


def test_a_quiet_service_is_told_how_much_longer_copies_make_it_and_that_works(capsys, tmp_path):
    ask = ("--manifest", manifest(tmp_path, mirror=True), "--traffic", "3", "--runs", 4, "--fault", "errors=20%")
    text = next(one["text"] for one in simulated(capsys, *ask)["advice"] if one["about"] == "undecided")
    assert "after 15.5 min of copies" in text
    longer = text.split("maxDuration: ")[1].split(";")[0]
    after = simulated(capsys, *ask, "--set", f"sequential.maxDuration={longer}")
    assert after["judges"]["sequential"]["healthy"]["promoted"] >= 0.5


def test_a_mesh_that_copies_nothing_is_named(capsys, tmp_path):
    path = Path(manifest(tmp_path, mirror=True))
    path.write_text(path.read_text().replace("provider: istio", "provider: contour"))
    found = simulated(capsys, "--manifest", path, "--traffic", "100", *QUICK)
    assert (found["copied"], found["ignored"]) == (0, ["mirror (provider contour copies no requests here)"])
    assert found["judges"]["sequential"]["errors=20%"]["harmed"] > 0


def test_who_is_young_is_taken_back_unless_compared_with_its_like(capsys, tmp_path):
    ask = ("--manifest", manifest(tmp_path, maxWeight=0), "--traffic", "100", "--young", "latency=2x", "--young-for", "4m", *QUICK)
    found = simulated(capsys, *ask)
    assert found["baseline"] == "primary"
    assert (found["service"]["young"], found["service"]["youngSeconds"]) == ("latency=2x", 240)
    assert found["judges"]["sequential"]["healthy"]["rolledBack"] == 1
    assert "`baseline: fresh` compares with" in found["advice"][0]["text"]
    fresh = simulated(capsys, *ask, "--set", "baseline=fresh")
    assert fresh["baseline"] == "fresh"
    assert fresh["judges"]["sequential"]["healthy"]["promoted"] == 1
    assert fresh["judges"]["sequential"]["errors=20%"]["rolledBack"] == 1
    assert canary("simulate", *ask, "--set", "baseline=fresh") == 0
    shown = capsys.readouterr().out
    assert "Compared with a fresh baseline, which is as young as the canary" in shown
    assert "Pods are young for 4 min: latency=2x." in shown


def test_people_get_a_table_and_sentences(capsys, tmp_path):
    path = manifest(tmp_path, judge="threshold")
    assert canary("simulate", "--manifest", path, "--traffic", "6000/m", *QUICK) == 0
    shown = capsys.readouterr()
    assert shown.err == "", "no progress where stderr is no terminal"
    assert shown.out.startswith("prod/podinfo: 100 requests/s, 0.1 % fail, P50 80 ms, P99 256 ms; a step each 60 s")
    healthy = next(line for line in shown.out.splitlines() if line.startswith("healthy"))
    assert healthy.split()[:6] == ["healthy", "0", "%", "100", "%", "0"]
    assert "exactly 0" in shown.out or "by computation" in shown.out
    assert "\n- errors=20% is taken back after 5 min" in shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--traffic", "fast"], "traffic 'fast' is no number of requests"),
        (["--traffic", "1", "--error-rate", "1"], "--error-rate: '1' is no percentage"),
        (["--traffic", "1", "--fault", "speed=2x"], "fault 'speed=2x'"),
        (["--traffic", "1", "--latency", "p99=1s"], "one percentile"),
        (["--traffic", "1", "--buckets", "5,1"], "must rise"),
        (["--traffic", "1", "--scrape", "soon"], "--scrape"),
        (["--traffic", "1", "--young", "slow"], "fault 'slow'"),
        (["--traffic", "1", "--young", "latency=2x", "--young-for", "0s"], "--young-for '0s' must lie between 1s and 1440m"),
        (["--traffic", "1", "--set", "judge"], "is not KEY=VALUE"),
        (["--traffic", "1", "--set", "metrics.7.interval=1m"], "the analysis has no '7' there"),
        (["--traffic", "1", "--set", "judge=oracle"], "judge"),
        (["--traffic", "1", "--set", "maxWeight=99", "--set", "judge=sequential"], "leaves too little of it to compare with"),
        ([], "--traffic"),
    ],
)
def test_bad_input_is_one_line_with_a_way_out(capsys, arguments, said):
    assert canary("simulate", *arguments) in (1, 2)
    error, *hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert len(hint) <= 1


def test_manifests_that_cannot_be_simulated_say_why(capsys, tmp_path):
    path = manifest(tmp_path, judge="threshold", iterations=5, stepWeight=None)
    assert canary("simulate", "--manifest", path, "--traffic", "1") == 1
    assert "counts iterations" in capsys.readouterr().err
    (tmp_path / "two.yaml").write_text("kind: Service\n")
    assert canary("simulate", "--manifest", tmp_path / "two.yaml", "--traffic", "1") == 1
    assert "holds no objects of kind Canary" in capsys.readouterr().err
    (tmp_path / "broken.yaml").write_text("a: [")
    assert canary("simulate", "--manifest", tmp_path / "broken.yaml", "--traffic", "1") == 1
    assert "is no YAML" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["simulate", "replay", "plan"])
def test_help_loads_no_numpy(command):
    code = f"import sys\nfrom canary.cli.exits import invoke\nfrom canary.cli.main import cli\ninvoke(cli, [{command!r}, '--help'], prog='canary')\n"
    code += "heavy = {name.partition('.')[0] for name in sys.modules} & {'numpy', 'pydantic', 'rich', 'httpx', 'prometheus_api_client', 'yaml'}\n"
    done = subprocess.run([sys.executable, "-c", f"{code}sys.exit(str(heavy) if heavy else 0)"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
