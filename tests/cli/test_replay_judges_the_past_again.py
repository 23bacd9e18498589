"""`canary replay` end to end: raw counters and checks from a server that speaks Prometheus, through the real judge."""

from pathlib import Path

import pytest

from tests.cli.forecasts import BEGAN, canary, lines, manifest
from tests.forecast.prometheus import Mesh, Prometheus

pytestmark = pytest.mark.slow

STEPS = (10, 20, 30, 40, 50)
END = BEGAN + 1200


def weight(ts):
    """10 % more each minute, until the end."""
    return 0 if ts <= BEGAN else STEPS[min(len(STEPS) - 1, int((ts - BEGAN - 1e-6) // 60))]


@pytest.fixture
def prometheus():
    with Prometheus() as server:
        yield server


def recorded(server, *, errors=None, slow=1.0, rate=100, end=END, weights=True):
    """A release of the past, scraped."""
    mesh = Mesh(server)
    mesh.go_on(BEGAN - 3700, end, rate=rate, weight=weight, errors=errors, slow=slow)
    if weights:
        mesh.weights([(BEGAN - 120 + 15 * at, weight(BEGAN - 120 + 15 * at)) for at in range(int((end - BEGAN + 120) / 15))])


def replay(server, path, *more):
    return canary("replay", "--manifest", path, "--metrics-server", server.url, "--from", BEGAN - 60, "--to", END, *more)


def test_a_bad_release_is_taken_back_at_the_tick_at_which_it_shows(prometheus, tmp_path, capsys):
    recorded(prometheus, errors={"canary": 0.2})
    assert replay(prometheus, manifest(tmp_path), "--json") == 1
    head, *events, end = lines(capsys.readouterr().out)
    assert head["pastTicks"] > 200
    looks = [one for one in events if one["event"] == "look"]
    assert [one["verdict"] for one in looks][-1] == "rollback"
    assert all(one["verdict"] != "rollback" for one in looks[:-1])
    assert [one["against"] >= 100 for one in looks] == [False] * (len(looks) - 1) + [True]
    assert len(looks) <= 4, "three ticks are enough for one request in five"
    assert end["verdict"] == "rollback"
    assert end["elapsed"] == looks[-1]["elapsed"] <= 75
    assert end["reason"].startswith("Rolled back after")
    assert end["threshold"] == {"verdict": "rollback", "elapsed": 300.0}
    assert [one["threshold"] for one in events if one["event"] == "step"] == ["failed"] * 4 + ["rollback"]


def test_counts_are_those_that_happened(prometheus, tmp_path, capsys):
    recorded(prometheus)
    assert replay(prometheus, manifest(tmp_path), "--json") == 0
    *_, end = lines(capsys.readouterr().out)
    until = BEGAN + end["elapsed"]
    for arm in ("canary", "primary"):
        wanted = {"reporter": "source", "destination_service_name": f"podinfo-{arm}"}
        mine = [one for one in prometheus.series["istio_requests_total"] if wanted.items() <= one.labels.items()]
        assert end[arm]["requests"] == sum(counted(one, until) - counted(one, BEGAN) for one in mine)


def counted(series, at):
    """The counter at this moment."""
    before = [value for ts, value in zip(series.times, series.values, strict=True) if ts <= at]
    return before[-1] if before else 0


def test_a_healthy_release_is_promoted(prometheus, tmp_path, capsys):
    recorded(prometheus)
    assert replay(prometheus, manifest(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert "sequential: promote after" in shown
    assert "threshold would have come to: promote after 5 min" in shown
    assert "weight           " in shown
    assert "\x1b" not in shown, "no colours where stdout is no terminal"


def test_slowness_is_seen_too(prometheus, tmp_path, capsys):
    recorded(prometheus, slow=3.0)
    assert replay(prometheus, manifest(tmp_path), "--json") == 1
    *_, end = lines(capsys.readouterr().out)
    assert "took longer than" in end["reason"]


def test_guarded_takes_back_by_evidence_and_promotes_by_checks(prometheus, tmp_path, capsys):
    recorded(prometheus, errors={"canary": 0.02})
    assert replay(prometheus, manifest(tmp_path, judge="guarded"), "--json") == 1
    *_, end = lines(capsys.readouterr().out)
    assert end["elapsed"] < end["threshold"]["elapsed"]
    prometheus.series.clear()
    recorded(prometheus)
    assert replay(prometheus, manifest(tmp_path, judge="guarded"), "--json") == 0
    *_, end = lines(capsys.readouterr().out)
    assert end["reason"] == "all steps passed, and no evidence against it"


def test_a_threshold_manifest_ends_as_its_checks_say_and_shows_what_evidence_knew(prometheus, tmp_path, capsys):
    recorded(prometheus, errors={"canary": 0.02})
    assert replay(prometheus, manifest(tmp_path, judge="threshold"), "--json") == 1
    *events, end = lines(capsys.readouterr().out)
    assert end["verdict"] == "rollback"
    assert "5 failed checks" in end["reason"]
    first = next(one for one in events if one.get("verdict") == "rollback")
    assert first["elapsed"] < end["elapsed"]


def test_an_outage_of_both_is_nobodys_fault(prometheus, tmp_path, capsys):
    recorded(prometheus, errors={"canary": 0.1, "primary": 0.1}, end=BEGAN + 600)
    code = replay(prometheus, manifest(tmp_path), "--json")
    *_, end = lines(capsys.readouterr().out)
    assert (code, end["verdict"]) == (3, "undecided")
    assert end["threshold"]["verdict"] == "rollback"


def test_weights_may_be_given(prometheus, tmp_path, capsys):
    recorded(prometheus, errors={"canary": 0.2}, weights=False)
    path = manifest(tmp_path)
    assert replay(prometheus, path) == 4
    assert "no flagger_canary_weight of prod/podinfo" in capsys.readouterr().err
    assert (
        canary(
            "replay", "--manifest", path, "--metrics-server", prometheus.url, "--from", BEGAN, "--to", END, "--weights", "10,20,30,40,50"
        )
        == 1
    )
    assert (
        canary(
            "replay",
            "--manifest",
            path,
            "--metrics-server",
            prometheus.url,
            "--from",
            BEGAN,
            "--to",
            END,
            "--weights",
            "0s=10,1m=20,2m=30,3m=40",
        )
        == 1
    )


def test_without_data_there_is_no_verdict(prometheus, tmp_path, capsys):
    ask = (
        "replay",
        "--manifest",
        manifest(tmp_path),
        "--metrics-server",
        prometheus.url,
        "--from",
        BEGAN,
        "--to",
        BEGAN + 600,
        "--weights",
        "10,20",
    )
    assert canary(*ask) == 3
    shown = capsys.readouterr().out
    assert "sequential: undecided. No requests of the canary were found" in shown
    assert "request-success-rate has no data" in shown
    assert "threshold would have come to: rollback after 5 min" in shown


def test_nothing_is_released_when_the_weight_was_nought(prometheus, tmp_path, capsys):
    Mesh(prometheus).weights([(BEGAN + 15 * at, 0) for at in range(20)])
    assert replay(prometheus, manifest(tmp_path)) == 4
    assert "no release to replay" in capsys.readouterr().err


def test_a_server_that_goes_away_in_the_middle_cannot_be_reached(prometheus, tmp_path, capsys):
    recorded(prometheus)
    answer = prometheus.answer
    prometheus.answer = lambda path, query: (503, {}) if "[540" in query["query"] or "[541" in query["query"] else answer(path, query)
    assert replay(prometheus, manifest(tmp_path)) == 5
    assert capsys.readouterr().err.startswith("error: 127.0.0.1:")


@pytest.mark.parametrize("command", ["replay", "plan"])
def test_a_wrong_url_is_one_sentence(tmp_path, capsys, command):
    times = ("--from", "-1h") if command == "replay" else ()
    for url in ("http://127.0.0.1:1", "prometheus:9090"):
        assert canary(command, "--manifest", manifest(tmp_path), "--metrics-server", url, *times) == 5
        error, hint = capsys.readouterr().err.splitlines()
        assert error.startswith(f"error: no Prometheus answers at {url}: ")
        assert "--metrics-server" in hint


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--from", "yesterday"], "--from 'yesterday' is no time"),
        (["--from", "2027-01-18T09:00:00"], "has no time zone"),
        (["--from", "-1h", "--to", "-2h"], "--to must be after --from"),
        (["--from", "-30x"], "unknown unit"),
        (["--from", "-1h", "--weights", "ten"], "--weights"),
        (["--from", "-1h", "--weights", "120"], "between 0 and 100"),
    ],
)
def test_bad_times_and_weights_are_usage_errors(prometheus, tmp_path, capsys, more, said):
    assert canary("replay", "--manifest", manifest(tmp_path), "--metrics-server", prometheus.url, *more) == 2
    assert said in capsys.readouterr().err


def test_a_mesh_that_does_not_tell_versions_apart_is_refused(prometheus, tmp_path, capsys):
    path = manifest(tmp_path, judge="threshold")
    Path(path).write_text(Path(path).read_text().replace("provider: istio", "provider: kubernetes"))
    assert replay(prometheus, path) == 1
    assert "does not count the requests of both versions" in capsys.readouterr().err
