"""docs/how-to/with-flux-and-argo-cd.md: its manifests are accepted, and it explains every reason that the condition can have."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from canary.api.canary import Canary
from canary.api.status import Phase
from canary.api.validation import validate_semantics
from canary.core.notices import Voice

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/how-to/with-flux-and-argo-cd.md").read_text()


def _manifests() -> tuple[dict, Canary]:
    deployment, canary = yaml.safe_load_all(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0])
    return deployment, Canary.model_validate(canary)


def test_the_canary_of_the_example_is_accepted_and_the_deployment_has_no_replicas() -> None:
    deployment, canary = _manifests()
    assert not validate_semantics(canary, provider="kubernetes", no_cross_namespace_refs=False)
    assert canary.spec.target_name == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]


def test_every_reason_is_explained() -> None:
    source = (ROOT / "canary/core/delivery.py").read_text()
    reasons = {*re.findall(r'_no\("(\w+)"', source), *re.findall(r'\("(PullRequestOpen|WritingBack)"', source), "RevertDrift", "SetAgain"}
    assert len(reasons) > 7
    explained = set(re.findall(r"^\| `(\w+)`", TEXT, re.MULTILINE))
    assert reasons <= explained | {"Protected"}, reasons - explained


def test_what_it_quotes_about_replicas_is_what_is_said() -> None:
    _, canary = _manifests()
    said = Voice(canary, Phase.SUCCEEDED).replicas_contested("kustomize-controller (Kustomization flux-system/apps)").message
    assert said in " ".join(TEXT.split())
