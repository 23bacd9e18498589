"""Which bodies of a Canary change what is known, and which of them call for a tick."""

from typing import Any

import pytest

from canary.engine import registry
from canary.engine.registry import Registry


def body(version: str, *, uid: str = "u1", status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"}
    analysis = {"interval": "10s", "threshold": 5, "stepWeight": 10, "maxWeight": 50}
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "app", "namespace": "test", "uid": uid, "resourceVersion": version},
        "spec": {"targetRef": target, "service": {"port": 80}, "analysis": analysis} | spec,
        "status": status or {},
    }


@pytest.fixture
def known() -> Registry:
    """A registry that knows version 5."""
    known = Registry()
    known.put(body("5", status={"phase": "Initialized"}))
    return known


def test_the_echo_of_our_own_write_is_not_parsed_again(known, monkeypatch):
    known.put(body("6", status={"phase": "Progressing"}))
    monkeypatch.setattr(registry, "parse_canary", lambda _: pytest.fail("parsed a body that is known already"))
    entry, changed = known.put(body("6", status={"phase": "Progressing"}))
    assert not changed
    assert entry.canary.status.phase == "Progressing"


def test_an_older_body_does_not_bring_an_old_status_back(known):
    known.put(body("6", status={"phase": "Progressing"}))
    entry, changed = known.put(body("5", status={"phase": "Initialized"}))
    assert (entry.canary.status.phase, changed) == ("Progressing", False)


def test_a_newer_status_is_taken_without_a_tick(known):
    entry, changed = known.put(body("6", status={"phase": "Succeeded"}))
    assert (entry.canary.status.phase, changed) == ("Succeeded", False)


def test_a_newer_spec_calls_for_a_tick(known):
    entry, changed = known.put(body("6", suspend=True))
    assert (entry.canary.spec.suspend, changed) == (True, True)


def test_a_canary_that_was_made_again_is_news_whatever_its_version(known):
    entry, changed = known.put(body("5", uid="u2", suspend=True))
    assert (entry.canary.metadata.uid, entry.canary.spec.suspend, changed) == ("u2", True, True)


def test_without_comparable_versions_every_body_is_taken():
    known = Registry()
    known.put(body(""))
    entry, changed = known.put(body("", suspend=True))
    assert (entry.canary.spec.suspend, changed) == (True, True)
