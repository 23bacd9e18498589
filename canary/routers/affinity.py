"""Session affinity in words that every mesh understands: which rules come first, and which answers set a cookie.

A user who met the canary once stays with it: the answer sets a cookie with a value of this run, and a rule in front of the
weighted one sends its bearers to the canary. With `primaryCookieName` the same holds for the primary, for as long as one
analysis interval, so that a rising weight still reaches everybody. When the canary gets no traffic any more, bearers of the
run's cookie are told to forget it. Generating values is not done here: they are part of the status (reference Q33).
"""

from __future__ import annotations

from dataclasses import dataclass

from canary.api.analysis import SessionAffinity
from canary.core.model import Routes
from canary.core.release import Release

COOKIE = "Cookie"
SET_COOKIE = "Set-Cookie"
_SPECIAL = frozenset("\\.+*?()|[]{}^$")


@dataclass(frozen=True, slots=True)
class Sticky:
    """A rule in front of the weighted one: `pattern` (RE2) is matched against the Cookie header.

    `set_cookie` is the answer's Set-Cookie, empty for none.
    """

    pattern: str
    primary: int
    canary: int
    set_cookie: str = ""


@dataclass(frozen=True, slots=True)
class Affinity:
    """`rules` in order, then the weighted rule whose answers set these cookies by backend (empty: none)."""

    rules: tuple[Sticky, ...] = ()
    primary: str = ""
    canary: str = ""

    @property
    def by_destination(self) -> tuple[str, ...]:
        """The cookies in the order of `weights.split`. Who met the baseline met the primary's version, and stays with that."""
        return (self.primary, self.canary, self.primary)


def affinity(release: Release, routes: Routes) -> Affinity:
    """What session affinity asks for at these weights; nothing without it, and nothing together with `analysis.match`."""
    analysis = release.canary.spec.analysis
    wish = analysis.session_affinity
    if wish is None or analysis.match:
        return Affinity()
    cookies = routes.cookies
    if routes.canary == 0:
        # The run is over, or has not begun: whatever is out there belongs to a run that has ended.
        stale = cookies.previous or cookies.current
        return Affinity((Sticky(pattern(stale), routes.primary, 0, f"{stale}; Max-Age=-1"),)) if stale else Affinity()
    rules: list[Sticky] = []
    on_canary = on_primary = ""
    if cookies.current:
        rules.append(Sticky(pattern(cookies.current), 0, 100))
        on_canary = set_cookie(wish, cookies.current, max_age=wish.max_age_effective)
    if cookies.primary and wish.primary_cookie_name:
        rules.append(Sticky(pattern(cookies.primary), 100, 0))
        on_primary = set_cookie(wish, cookies.primary, max_age=max(1, int(analysis.interval_seconds)))
    return Affinity(tuple(rules), on_primary, on_canary)


def set_cookie(wish: SessionAffinity, cookie: str, *, max_age: int) -> str:
    """`cookie` (`<name>=<value>`) with its attributes, in the order that reference 1.6.4 gives; `max_age` in seconds."""
    parts = [cookie, f"Max-Age={max_age}"]
    if wish.domain:
        parts.append(f"Domain={wish.domain}")
    if wish.http_only:
        parts.append("HttpOnly")
    if wish.partitioned:
        parts.append("Partitioned")
    if wish.path:
        parts.append(f"Path={wish.path}")
    if wish.same_site:
        parts.append(f"SameSite={wish.same_site}")
    if wish.secure:
        parts.append("Secure")
    return "; ".join(parts)


def pattern(cookie: str) -> str:
    """RE2 that finds `<name>=<value>` among the cookies of a request (meshes match the whole header)."""
    name, _, value = cookie.partition("=")
    return f".*{quote(name)}.*{quote(value)}.*"


def quote(text: str) -> str:
    """`text` as an RE2 expression that matches just it."""
    return "".join(f"\\{char}" if char in _SPECIAL else char for char in text)
