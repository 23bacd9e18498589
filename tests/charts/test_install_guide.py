"""The installation guide says what is so: its commands render, its values and flags exist, and no flag of ours is left out."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from canary.cli.run import CHAT, IGNORED, run
from tests.charts.canary_chart import UPSTREAM_DEFAULTS, CanaryChart
from tests.charts.helm import ROOT
from tests.testbed.documents import document, documents

pytestmark = pytest.mark.slow

GUIDE = ROOT / "docs" / "how-to" / "install.md"
TEXT = GUIDE.read_text()
# Flags that Flagger 1.44 has.
UPSTREAM_FLAGS = {
    "kubeconfig", "kubeconfig-service-mesh", "master", "kubeconfig-qps", "kubeconfig-burst", "metrics-server", "mesh-provider", "control-loop-interval", "threadiness",
    "namespace", "selector-labels", "include-label-prefix", "enable-config-tracking", "ingress-annotations-prefix", "ingress-class",
    "no-cross-namespace-refs", "slack-url", "slack-token", "slack-proxy-url", "slack-channel", "slack-user", "msteams-url",
    "msteams-proxy-url", "event-webhook", "cluster-name", "enable-leader-election", "leader-election-namespace", "port", "log-level",
    "zap-encoding", "zap-replace-globals", "version",
}  # fmt: skip


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> CanaryChart:
    return CanaryChart(tmp_path_factory.mktemp("helm"))


def commands() -> list[list[str]]:
    """Every helm command of the guide that installs the chart."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [words for words in map(shlex.split, lines) if words[0] == "helm" and "charts/canary" in words]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_renders(chart: CanaryChart, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "my-flagger-values.yaml").write_text(json.dumps(UPSTREAM_DEFAULTS))
    known = {
        "upgrade",
        "install",
        "--install",
        "--create-namespace",
        "--reuse-values",
        "--reset-values",
        "--take-ownership",
        "charts/canary",
    }
    release = next(word for word in words[1:] if word not in known)
    flags = [word.replace("my-flagger-values", f"{tmp_path}/my-flagger-values") for word in words[1:] if word not in known | {release}]
    found = chart.run("template", release, str(chart.directory), *flags)
    assert found.returncode == 0, found.stderr
    objects = documents(found.stdout)
    (deployment,) = (item for item in objects if item["kind"] == "Deployment")
    assert deployment["metadata"]["name"] == release
    assert deployment["metadata"]["namespace"] == words[words.index("--namespace") + 1]


def test_every_value_that_is_named_exists() -> None:
    defaults: dict[str, Any] = document((ROOT / "charts/canary/values.yaml").read_text())
    named = set(re.findall(r"(?:--set |`)((?:[a-z]\w+)(?:\.\w+)+)(?==|`)", TEXT))
    named -= {"spec.provider"}
    assert {"crds.install", "configTracking.enabled", "slack.existingSecret"} <= named
    for path in named - {"dashboards/analysis-runs.json"}:
        at: Any = defaults
        for key in path.split("."):
            assert key in at, path
            at = at[key]


def test_every_flag_of_ours_is_listed_and_every_listed_flag_exists() -> None:
    flags = {option.lstrip("-") for parameter in run.params for option in parameter.opts if option.startswith("--")}
    assert flags >= UPSTREAM_FLAGS
    listed = set(re.findall(r"^\| `-([\w-]+)` \|", TEXT, re.MULTILINE))
    assert listed == flags - UPSTREAM_FLAGS
    for flag in IGNORED:
        assert f"`-{flag}`" in TEXT


def test_variables_that_win_over_flags_are_the_programs() -> None:
    listed = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", TEXT))
    assert listed == {"EVENT_WEBHOOK_URL", *(flag.upper().replace("-", "_") for flag in CHAT if "url" in flag or "token" in flag)}


def test_links_and_files_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (GUIDE.parent / target).exists(), target
    for path in ("crds", "charts/canary/values.yaml", "dashboards/analysis-runs.json"):
        assert f"`{path}" in TEXT
        assert (ROOT / path).exists()
