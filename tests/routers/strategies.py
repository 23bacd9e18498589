"""Generated services, analyses and routes that a router's mesh can express, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from canary.core.model import Cookies, Routes

Strategy = st.SearchStrategy[Any]

_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z0-9]", fullmatch=True)
_TEXTS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?", fullmatch=True)
_PATHS = st.from_regex(r"/[a-z0-9/]{0,10}", fullmatch=True).filter(lambda path: "//" not in path)
_MAPS = st.dictionaries(_NAMES, _TEXTS, max_size=4)


def _maybe(**keys: Strategy) -> Strategy:
    return st.fixed_dictionaries({}, optional=keys)


def _one_of(values: Strategy, *ways: str) -> Strategy:
    return st.one_of(*(st.fixed_dictionaries({way: values}) for way in ways))


def _ways(provider: str) -> tuple[str, ...]:
    return ("exact", "regex") if provider.startswith("gatewayapi") else ("exact", "prefix", "regex")


def services(provider: str) -> Strategy:
    """`spec.service`, without what the mesh refuses."""
    tests = st.dictionaries(_NAMES, _one_of(_TEXTS, *_ways(provider)), max_size=3)
    match = _maybe(
        uri=_one_of(_PATHS, "exact", "prefix", "regex"),
        method=st.sampled_from([{"exact": "GET"}, {"exact": "POST"}]),
        headers=tests,
        queryParams=tests,
        port=st.integers(1, 65535),
    )
    edit = _maybe(add=_MAPS, set=_MAPS, remove=st.lists(_NAMES, max_size=4))
    return _maybe(
        name=_NAMES,
        port=st.integers(1, 65535),
        hosts=st.lists(_NAMES, max_size=2, unique=True),
        gateways=st.lists(_NAMES, max_size=2, unique=True),
        portDiscovery=st.booleans(),
        match=st.lists(match, max_size=3),
        headers=_maybe(request=edit, response=edit),
        rewrite=_maybe(uri=_PATHS, authority=_NAMES),
        timeout=st.sampled_from(["10s", "1.5s", "1m30s"]),
        retries=st.fixed_dictionaries(
            {"attempts": st.integers(0, 5)}, optional={"perTryTimeout": st.just("1s"), "retryOn": st.just("5xx,reset")}
        ),
        apex=_maybe(labels=_MAPS, annotations=_MAPS),
        corsPolicy=_maybe(allowOrigin=st.just(["*"]), maxAge=st.just("1h")),
    )


def analyses(provider: str) -> Strategy:
    """`spec.analysis`, without what the mesh refuses."""
    ways = _ways(provider)
    suffix = ways if provider.startswith("gatewayapi") else (*ways, "suffix")
    test = st.fixed_dictionaries(
        {"headers": st.dictionaries(_NAMES, _one_of(_TEXTS, *suffix), min_size=1, max_size=3)},
        optional={"queryParams": st.dictionaries(_NAMES, _one_of(_TEXTS, *ways), max_size=2), "sourceLabels": _MAPS},
    )
    affinity = st.fixed_dictionaries({"cookieName": _NAMES}, optional={"primaryCookieName": _NAMES, "maxAge": st.integers(0, 999)})
    return _maybe(
        iterations=st.integers(1, 9), match=st.lists(test, max_size=3), mirrorWeight=st.integers(0, 100), sessionAffinity=affinity
    )


_COOKIES = st.builds(
    Cookies,
    current=st.sampled_from(["", "c=abcdefghij"]),
    previous=st.sampled_from(["", "c=jihgfedcba"]),
    primary=st.sampled_from(["", "p=abcdefghij"]),
)
ROUTES = st.integers(0, 100).flatmap(
    lambda canary: st.builds(
        Routes, st.just(100 - canary), st.just(canary), cookies=_COOKIES, baseline=st.just(0) | st.integers(0, 100 - canary)
    )
)
