"""docs/how-to/git-write-back.md: its example is accepted and says the defaults, and it explains every reason that can be shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from canary.api.gitsink import GitSink, GitSinkSpec, parse_git_sink
from canary.core.errors import Conflict, Forbidden, NotFound, Rejected, Retryable
from canary.gitops import failures
from canary.gitops.message import revert_message
from canary.gitops.revert import Verdict
from tests.gitops.test_messages_and_records_say_only_what_is_true import parsed, trailers

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/how-to/git-write-back.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def example() -> GitSink:
    (text,) = blocks("yaml")
    return parse_git_sink(yaml.safe_load(text))


def test_the_example_is_accepted_and_shows_the_defaults() -> None:
    spec = example().spec
    least = GitSinkSpec.model_validate({"cluster": "c", "repository": {"url": spec.repository.url}})
    assert spec.repository.branch == least.repository.branch
    assert spec.on_failure == least.on_failure
    assert spec.records == least.records
    assert spec.limits.max_bytes == least.limits.max_bytes


def test_the_trailers_are_those_of_a_revert() -> None:
    names = [line.partition(":")[0] for line in trailers(revert_message(parsed(), "c", [("a:1", "a:2")]))]
    assert [line.partition(":")[0] for line in blocks("text")[0].strip().splitlines()] == names


def _reasons() -> set[str]:
    said = {reason for reason, _, _ in failures._TABLE} - {"Stale"}  # recomputed at once, never shown
    sources = "".join(path.read_text() for path in (ROOT / "canary/gitops").glob("*.py"))
    said |= set(re.findall(r'(?:reason=|Failure\()"([A-Z]\w+)"', sources))
    said |= {verdict.value for verdict in Verdict if verdict is not Verdict.EDIT}
    return said | {error.reason for error in (Conflict, Forbidden, NotFound, Rejected, Retryable)}


@pytest.mark.parametrize("reason", sorted(_reasons()))
def test_every_reason_is_explained(reason: str) -> None:
    assert f"`{reason}`" in TEXT
