"""Every command of the how-to is run as it stands there, in a folder with its manifest; only the address of Prometheus is another."""

import re
import shlex
import time
from pathlib import Path

import pytest
import yaml

from canary.api.canary import parse_canary
from tests.cli.forecasts import canary
from tests.forecast.prometheus import Mesh, Prometheus

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "know-before-you-release.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ canary (.+)$", TEXT, re.MULTILINE)
[MANIFEST] = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
LONG_AGO, EVERY = 6000, 15


@pytest.fixture(scope="module")
def prometheus():
    """A healthy release that began 100 minutes ago, after two of copies, in a service of 200 requests a second."""
    now = time.time()
    began = now - LONG_AGO
    weight = lambda ts: 0 if not began < ts <= began + 1200 else min(50, 10 * (1 + int((ts - began) // 60)))  # noqa: E731
    with Prometheus() as server:
        mesh = Mesh(server)
        mesh.go_on(now - 10000, now, rate=200, weight=weight, copied=lambda ts: 100 if began - 120 < ts <= began else 0)
        mesh.weights([(now - 7200 + EVERY * at, weight(now - 7200 + EVERY * at)) for at in range(480)])
        yield server


def test_the_page_shows_all_three():
    assert {command.split()[0] for command in COMMANDS} == {"simulate", "replay", "plan"}
    assert parse_canary(yaml.safe_load(MANIFEST)).spec.provider == "istio"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_does_what_it_says(command, prometheus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("canary.yaml").write_text(MANIFEST)
    words = shlex.split(command.replace("http://127.0.0.1:9090", prometheus.url))
    more = ["--runs", "4"] if words[0] == "simulate" else []
    assert canary(*words, *more) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    wanted = {"simulate": "judge: ", "replay": "promote after", "plan": "prod/podinfo: "}
    assert wanted[words[0]] in shown.out
