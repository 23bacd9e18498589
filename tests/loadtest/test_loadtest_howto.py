"""The how-to page tells the truth: its requests and commands run here, its names exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from loadtest.commands import build_command
from loadtest.payload import Payload
from tests.loadtest.support import CANARY, QuickLoadTester, hook

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "load-tester.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_requests_of_the_page_work(quick: Callable[..., QuickLoadTester]) -> None:
    server = quick()
    task = server.post("/", hook("true", type="bash")).headers["X-Task-Id"]
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("curl")]
    assert len(commands) == 5
    statuses = []
    for line in commands:
        words = shlex.split(line.replace("http://load-tester.prod", server.url).replace("$TASK", task))
        statuses.append(
            subprocess.run([*words, "-s", "-o", os.devnull, "-w", "%{http_code}"], capture_output=True, text=True, check=True).stdout
        )
        if line.endswith("/gate/open"):
            assert server.post("/gate/check", {"name": "podinfo", "namespace": "prod"}).status_code == 200
    assert statuses == ["202", "200", "202", "200", "200"]


def test_the_hooks_of_the_page_are_understood() -> None:
    hooks = yaml.safe_load("".join(blocks("yaml")))["analysis"]["webhooks"]
    assert [item.get("type", "rollout") for item in hooks] == ["rollout", "pre-rollout", "confirm-promotion"]
    for item in hooks:
        if "metadata" in item:
            payload = Payload(name=CANARY["name"], namespace=CANARY["namespace"], metadata=item["metadata"])
            assert build_command(payload, allowed=(), path=os.defpath).argv[0] in {"sh", "bash"}


def test_the_values_and_metrics_of_the_page_exist(quick: Callable[..., QuickLoadTester]) -> None:
    values = yaml.safe_load((ROOT / "charts" / "loadtester" / "values.yaml").read_text())
    for name in sorted(set(re.findall(r"`((?:auth|cmd|rbac|networkPolicy|persistence)\.\w+)", PAGE))):
        group, key = name.split(".")
        assert key in values[group], name
    server = quick()
    server.post("/gate/open", {"name": "podinfo", "namespace": "prod"})
    server.post("/", hook("true", type="bash"))
    exposed = server.client.get("/metrics").text
    for name, labels in re.findall(r"`(loadtester_\w+)(?:\{([\w,]+)\})?`", PAGE):
        series = re.search(rf"^{name}(?:_count)?(?:\{{(.*)\}})? ", exposed, re.MULTILINE)
        assert series, name
        if labels:
            assert set(re.findall(r"(\w+)=", series[1])) == set(labels.split(","))


@pytest.mark.parametrize("number", ["200", "32"])
def test_the_numbers_of_the_page_are_those_of_the_program(number: str) -> None:
    from loadtest.options import read_options
    from loadtest.runner import KEPT_TASKS

    assert {"200": KEPT_TASKS, "32": read_options([]).max_output // 2048}[number] == int(number)
    assert f"last {number} " in PAGE
