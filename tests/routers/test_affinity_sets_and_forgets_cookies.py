import re

import pytest

from canary.core.model import Cookies, Routes
from canary.routers.affinity import affinity, pattern
from tests.routers.releases import release

BOTH = Cookies(current="c=abc", previous="c=old", primary="p=def")


def plan(wish="{cookieName: c, primaryCookieName: p}", routes=Routes(90, 10, cookies=BOTH), more=""):
    return affinity(release("istio", f"analysis: {{interval: 90s, stepWeight: 10, sessionAffinity: {wish}{more}}}"), routes)


def test_bearers_stay_where_they_have_been():
    found = plan()
    assert [(rule.primary, rule.canary, rule.set_cookie) for rule in found.rules] == [(0, 100, ""), (100, 0, "")]
    assert found.canary == "c=abc; Max-Age=86400"
    assert found.primary == "p=def; Max-Age=90"


def test_the_primary_needs_a_cookie_name_of_its_own():
    """Upstream makes up a primary cookie with an empty name (Q33)."""
    found = plan("{cookieName: c}")
    assert len(found.rules) == 1
    assert found.primary == ""


def test_when_the_canary_gets_nothing_its_cookie_is_forgotten():
    found = plan(routes=Routes(100, 0, cookies=Cookies(previous="c=old", primary="p=def")))
    (rule,) = found.rules
    assert (rule.primary, rule.canary, rule.set_cookie) == (100, 0, "c=old; Max-Age=-1")
    assert found.primary == found.canary == ""


def test_a_rollback_forgets_the_cookie_of_the_run_even_before_it_was_moved():
    (rule,) = plan(routes=Routes(100, 0, cookies=Cookies(current="c=abc"))).rules
    assert rule.set_cookie == "c=abc; Max-Age=-1"


def test_without_cookies_nothing_is_sticky():
    assert plan(routes=Routes(90, 10)).rules == ()
    assert plan(routes=Routes(100, 0)).rules == ()


@pytest.mark.parametrize(
    "analysis", ["{stepWeight: 10}", "{stepWeight: 10, sessionAffinity: {cookieName: c}, match: [{headers: {a: {exact: b}}}]}"]
)
def test_neither_without_the_wish_nor_together_with_a_match(analysis):
    assert affinity(release("istio", f"analysis: {analysis}"), Routes(90, 10, cookies=BOTH)).rules == ()


def test_attributes_come_in_the_known_order_and_only_when_set():
    wish = "{cookieName: c, maxAge: 60, domain: d.e, httpOnly: true, partitioned: true, path: /p, sameSite: Lax, secure: true}"
    assert plan(wish).canary == "c=abc; Max-Age=60; Domain=d.e; HttpOnly; Partitioned; Path=/p; SameSite=Lax; Secure"
    assert plan("{cookieName: c, secure: true, maxAge: 0}").canary == "c=abc; Max-Age=86400; Secure"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("c.x=abc", True),
        ("a=b; c.x=abc; d=e", True),
        ("c.x=abd", False),
        ("cyx=abc", False),
        ("abc", False),
    ],
)
def test_the_pattern_finds_the_cookie_among_others(header, found):
    assert bool(re.fullmatch(pattern("c.x=abc"), header)) is found
