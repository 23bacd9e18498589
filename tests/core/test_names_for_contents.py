"""Hashes, run identifiers, cookies: what must be stable, what must differ, and upstream's golden vectors."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.api.analysis import SessionAffinity
from canary.core.cookies import cookies_for, letters
from canary.core.hashing import canonical_json, configs_hash, is_foreign, revision_of, run_id, webhook_checksum
from canary.core.model import Cookies

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TEMPLATES = st.dictionaries(st.text(max_size=5), JSON, max_size=4)


@pytest.mark.parametrize(
    ("configs", "revision", "checksum"),
    [
        ({"test-config-map": "484637c76acaa7c6"}, "4cb74184589", "569bdb7cb9"),
        (None, "", "758df7c9fc"),
        ({}, "6bc547b787", "68c8db57d9"),
        (None, "4cb74184589", "7c9d467496"),
        ({"test-config-map": "484637c76acaa7c6"}, "5f56684589", "85d557f47b"),
        ({"b": "2", "a": "1"}, "x", "74fdf4954"),
        ({}, "x", "76485df54b"),
    ],
)
def test_u23_webhook_checksums_are_upstreams(configs: dict[str, str] | None, revision: str, checksum: str) -> None:
    assert webhook_checksum(configs, revision) == checksum


@given(st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3), st.text(max_size=6), st.text(max_size=6))
def test_u23_the_checksum_differs_per_input(configs: dict[str, str], one: str, other: str) -> None:
    assert (webhook_checksum(configs, one) == webhook_checksum(configs, other)) == (one == other)


@given(TEMPLATES)
def test_a_revision_does_not_depend_on_the_order_of_keys(template: dict[str, object]) -> None:
    shuffled = dict(reversed(list(template.items())))
    assert revision_of(shuffled) == revision_of(template)
    assert revision_of(json.loads(json.dumps(template))) == revision_of(template)


@given(TEMPLATES, TEMPLATES)
def test_different_templates_have_different_revisions(one: dict[str, object], other: dict[str, object]) -> None:
    assert (revision_of(one) == revision_of(other)) == (canonical_json(one) == canonical_json(other))


def test_q47_a_revision_is_frozen_across_releases_of_the_operator() -> None:
    template = {"metadata": {"labels": {"app": "podinfo"}}, "spec": {"containers": [{"name": "podinfo", "image": "podinfo:6.0.0"}]}}
    assert revision_of(template) == "v2:ab00bfd1c9067c276a31b03694d439c3"


def test_json_without_a_canonical_form_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        revision_of({"value": float("nan")})


@pytest.mark.parametrize("stored", ["5498f4fcd6", "758df7c9fc", "68c8db57d9", "something-else"])
def test_what_others_wrote_is_foreign(stored: str) -> None:
    assert is_foreign(stored)


@pytest.mark.parametrize("stored", ["", revision_of({})])
def test_ours_and_nothing_are_not_foreign(stored: str) -> None:
    assert not is_foreign(stored)


def test_run_ids_are_short_and_follow_from_all_four_facts() -> None:
    base = {"uid": "u", "revision": "v2:a", "configs": {"configmap/a": "1"}, "started_at": "2027-01-15T08:00:00.000Z"}
    ids = {run_id(**{**base, **change}) for change in ({}, {"uid": "x"}, {"revision": "v2:b"}, {"configs": None}, {"started_at": "t"})}
    assert len(ids) == 5
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in ids)
    assert run_id(**base) == run_id(**base)


def test_no_configs_and_an_empty_set_of_configs_are_the_same() -> None:
    assert configs_hash(None) == configs_hash({}) != configs_hash({"configmap/a": "1"})


# ------------------------------------------------------------------------------------------------------ cookies

PLAIN = SessionAffinity(cookie_name="flagger")
BOTH = SessionAffinity(cookie_name="flagger", primary_cookie_name="stable")


def test_a_cookie_value_is_ten_letters_and_follows_from_its_seed() -> None:
    assert letters("a") == letters("a") != letters("b")
    assert len(letters("a")) == 10
    assert letters("a").isalpha()


def test_q33_a_run_keeps_its_cookie_over_all_steps_and_replays() -> None:
    first = cookies_for(Cookies(), PLAIN, weight=10, uid="u", run="r")
    assert first.current.startswith("flagger=")
    assert cookies_for(Cookies(), PLAIN, weight=10, uid="u", run="r") == first, "a replay after a crash sets the same cookie"
    assert cookies_for(first, PLAIN, weight=20, uid="u", run="r").current == first.current


def test_q33_there_is_no_primary_cookie_unless_it_has_a_name() -> None:
    assert cookies_for(Cookies(), PLAIN, weight=10, uid="u", run="r").primary == ""


def test_q33_the_primary_cookie_rotates_per_step() -> None:
    first = cookies_for(Cookies(), BOTH, weight=10, uid="u", run="r")
    second = cookies_for(first, BOTH, weight=20, uid="u", run="r")
    assert first.primary.startswith("stable=")
    assert first.primary != second.primary


def test_the_cookie_becomes_the_previous_one_when_the_canary_loses_its_traffic() -> None:
    running = cookies_for(Cookies(), BOTH, weight=10, uid="u", run="r")
    after = cookies_for(running, BOTH, weight=0, uid="u", run="r")
    assert after == Cookies(previous=running.current)
    assert cookies_for(after, BOTH, weight=0, uid="u", run="r") == after, "not lost when it happens twice"


def test_the_next_run_has_another_cookie_and_still_knows_the_previous_one() -> None:
    running = cookies_for(Cookies(), PLAIN, weight=10, uid="u", run="r")
    after = cookies_for(running, PLAIN, weight=0, uid="u", run="r")
    again = cookies_for(after, PLAIN, weight=10, uid="u", run="r2")
    assert again.current not in ("", running.current)
    assert again.previous == running.current


def test_a_renamed_cookie_gets_a_new_value_and_no_affinity_has_none() -> None:
    running = cookies_for(Cookies(), PLAIN, weight=10, uid="u", run="r")
    renamed = cookies_for(running, SessionAffinity(cookie_name="other"), weight=10, uid="u", run="r")
    assert renamed.current.startswith("other=")
    assert cookies_for(running, None, weight=10, uid="u", run="r") == Cookies()
