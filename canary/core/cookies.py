"""Session affinity: which cookie values belong to a run (reference 3.3, quirk Q33).

Upstream draws ten random letters and loses them on a status conflict. Here they are derived from the canary, the run and
the step, so that a replayed tick sets the same cookie, whoever replays it. They are names, not secrets: whoever knows one
may choose the version that serves them, which the header of an A/B test lets everybody do.
"""

from __future__ import annotations

import hashlib

from canary.api.analysis import SessionAffinity
from canary.core.model import Cookies

LENGTH = 10
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def letters(seed: str) -> str:
    """Ten letters that follow from the seed."""
    digest = hashlib.sha256(seed.encode()).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:LENGTH])


def cookies_for(before: Cookies, affinity: SessionAffinity | None, *, weight: int, uid: str, run: str) -> Cookies:
    """The cookies that go with this canary weight (percent).

    While the canary has traffic: one value per run for its users; and, only with `primaryCookieName`, one per *step* for
    those of the primary, so that a rising weight reaches everybody again (upstream never changes it). Without traffic, the
    run's cookie becomes the previous one, which the router takes back from browsers until the next run.
    """
    if affinity is None:
        return Cookies()
    if weight <= 0:
        return Cookies(previous=before.current or before.previous)
    current = before.current
    if not current.startswith(f"{affinity.cookie_name}="):
        current = f"{affinity.cookie_name}={letters(f'{uid}/{run}/canary')}"
    primary = f"{affinity.primary_cookie_name}={letters(f'{uid}/{run}/primary/{weight}')}" if affinity.primary_cookie_name else ""
    return Cookies(current, before.previous, primary)
