"""What people saw after a success: it turns that success into a failure, and nothing else."""

from __future__ import annotations

import pytest

from canary.gitops.rings.evidence import broken
from canary.gitops.rings.view import SKEW, Outcome
from tests.rings.support import HOUR, T0, bad, ok

SAID = {("v1", "first-0"): T0 + HOUR}


def test_a_success_before_it_is_one_no_more_from_that_moment_on():
    (one,), problems = broken([ok("first-0")], SAID)
    assert (one.outcome, one.finished, problems) == (Outcome.DEGRADED, T0 + HOUR, [])


def test_other_clusters_and_other_releases_are_not_touched():
    others = [ok("first-1"), ok("first-0", "v2"), ok("second-0")]
    found, problems = broken(others, SAID)
    assert found == others
    assert problems == ["first-0 is said to have broken with v1, and has no record of it"]


@pytest.mark.parametrize(("later", "stands"), [(SKEW, False), (SKEW + 1, True)])
def test_a_success_stands_only_when_it_clearly_came_after(later, stands):
    (one,), _ = broken([ok("first-0", at=T0 + HOUR + later)], SAID)
    assert (one.outcome is Outcome.SUCCEEDED) is stands


def test_a_failure_stays_what_it_is():
    failed = bad("first-0")
    assert broken([failed], SAID) == ([failed], [])
