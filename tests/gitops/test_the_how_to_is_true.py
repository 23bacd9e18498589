"""docs/how-to/git-write-back.md: its example is accepted and says the defaults, and it explains every reason that can be shown."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from canary.api.gitsink import GitSink, GitSinkSpec, parse_git_sink
from canary.core.conditions import BREAKER_OPEN, REJECTED_RELEASE
from canary.core.errors import Conflict, Forbidden, NotFound, Rejected, Retryable
from canary.gitops import breaker, failures
from canary.gitops.breaker import RETRY
from canary.gitops.forges.address import detect
from canary.gitops.message import revert_message
from canary.gitops.promotions import PATIENCE
from canary.gitops.proposals import head_of
from canary.gitops.provenance import ANNOTATION
from canary.gitops.revert import Verdict
from canary.gitops.statuses import status_of
from canary.gitops.tags import tag_of
from tests.gitops.test_messages_and_records_say_only_what_is_true import parsed, trailers

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/how-to/git-write-back.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def example() -> GitSink:
    return parse_git_sink(yaml.safe_load(_sinks()[0]))


def _sinks() -> list[str]:
    """The example, and the parts of a sink that later sections add to it."""
    return [text for text in blocks("yaml") if "kind: GitSink" in text or text.startswith("spec:\n")]


def test_the_example_is_accepted_and_shows_the_defaults() -> None:
    spec = example().spec
    least = GitSinkSpec.model_validate({"cluster": "c", "repository": {"url": spec.repository.url}})
    assert spec.repository.branch == least.repository.branch
    assert spec.on_failure == least.on_failure
    assert spec.records == least.records
    assert spec.breaker == least.breaker
    assert spec.limits.max_bytes == least.limits.max_bytes


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(old[key], value) for key, value in new.items() if isinstance(old.get(key), dict) and isinstance(value, dict)}
    return old | new | both


def test_what_later_sections_add_is_accepted_and_is_no_default() -> None:
    first, *more = (yaml.safe_load(text) for text in _sinks())
    assert len(more) == 4
    spec = parse_git_sink(functools.reduce(_merged, more, first)).spec
    assert (spec.on_failure.delivery, spec.statuses.target, spec.identity.signing.type) == ("pullRequest", "commit", "ssh")
    assert spec.on_success.tag
    assert (spec.on_bootstrap.primary, example().spec.on_bootstrap.primary) == ("promoted", "template")
    least = example().spec
    assert (least.on_failure.delivery, least.statuses.target, least.identity.signing.type) == ("push", "none", "none")
    assert not least.on_success.tag


def test_what_the_page_says_of_names_is_so() -> None:
    sink, run = example(), parsed()
    assert f"`{head_of(sink, run).replace('cluster-001/prod.podinfo', '<cluster>/<namespace>.<canary>')}`" in TEXT
    assert status_of(sink, run).context == "canary/cluster-001/prod/podinfo"
    assert tag_of(sink, run) == f"canary/cluster-001/prod/podinfo/{run.metadata.name}"
    assert "`canary/<cluster>/<namespace>/<canary>`" in TEXT
    assert "`canary/<cluster>/<namespace>/<canary>/<run>`" in TEXT
    assert f"`{ANNOTATION}`" in TEXT
    assert re.search(rf"annotate --overwrite canary podinfo {re.escape(RETRY)}=[0-9a-f]{{16}}\n", TEXT)
    assert all(f"`{word}`" in TEXT for word in (BREAKER_OPEN, REJECTED_RELEASE, "canary_git_breaker_open"))
    assert f"Git has {'five' if PATIENCE == 5 else PATIENCE} seconds" in TEXT
    for host in ("github.com", "acme.ghe.com", "gitlab.com", "codeberg.org", "bitbucket.org", "gitlab.acme.example", "github.acme.example"):
        assert detect(f"https://{host}/acme/fleet.git")
    for name in ("gitea", "forgejo", "bitbucket"):
        assert detect(f"https://{name}.acme.example/acme/fleet.git")


def test_the_trailers_are_those_of_a_revert() -> None:
    names = [line.partition(":")[0] for line in trailers(revert_message(parsed(), "c", [("a:1", "a:2")]))]
    assert [line.partition(":")[0] for line in blocks("text")[0].strip().splitlines()] == names


def _reasons() -> set[str]:
    said = {reason for reason, _, _ in failures._TABLE}
    sources = "".join(path.read_text() for folder in ("", "forges/") for path in (ROOT / "canary/gitops").glob(f"{folder}*.py"))
    said |= set(re.findall(r'(?:reason=|Failure\()"([A-Z]\w+)"', sources))
    said |= {verdict.value for verdict in Verdict if verdict is not Verdict.EDIT} | {breaker.REASON}
    said -= {"Stale"}  # recomputed at once, never shown
    return said | {error.reason for error in (Conflict, Forbidden, NotFound, Rejected, Retryable)}


@pytest.mark.parametrize("reason", sorted(_reasons()))
def test_every_reason_is_explained(reason: str) -> None:
    assert f"`{reason}`" in TEXT
