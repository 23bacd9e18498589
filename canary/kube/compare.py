"""Does a live object look as wanted? Pure: values in, differences out.

We own a few fields of objects that the server completes and other people edit, so equality is the wrong question. The rule:

* Everywhere, ours must be contained in the live object; keys that we did not name are somebody else's.
* Below an *exact* path the lists have our length and order, and a map has only our keys. The server itself adds keys there
  (defaults, allocated values); it is told from a person by trying: what comes back after we replaced the path is the
  server's (`ServerMade`), everything else is drift. Rejected: reading `managedFields` (they cost more memory than the
  objects, and say nothing inside atomic lists, where routes live), and knowing every kind's defaults.
* Empty and absent are the same thing, because typed kinds drop empty fields. An exact path that is not in our body says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Protocol

from canary.kube.resource import Object, Resource

Path = tuple[str | int, ...]
"""Keys and list indexes from the root of the object."""


class _Missing:
    def __repr__(self) -> str:
        return "(absent)"


MISSING: Final = _Missing()


class Wanted(Protocol):
    """One object as it should look: `canary.routers.base.Wanted` is one. `body` holds only fields that we own."""

    @property
    def resource(self) -> Resource:
        """Its kind."""
        ...

    @property
    def body(self) -> Object:
        """Head and owned fields."""
        ...

    @property
    def exact(self) -> tuple[tuple[str, ...], ...]:
        """Paths whose value must be ours entirely."""
        ...

    @property
    def adopt(self) -> bool:
        """Whether an existing object that is not ours may be taken over."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """`ours` is MISSING for a key that we did not name, `live` for one that the object lacks."""

    path: Path
    ours: Any
    live: Any


class ServerMade:
    """What the server was seen to make of our values: defaults it adds and forms it normalises to, by kind and path.

    Memory only: it is learned anew after a restart, at the cost of two requests per kind, not per object.
    """

    MANY = 32
    """Different values at one path after which it counts as allocated by the server (clusterIP, nodePort)."""
    MOST = 1024

    def __init__(self) -> None:
        self._known: dict[tuple[Resource, Path], set[tuple[str, str]]] = {}

    def learn(self, resource: Resource, differences: Sequence[Difference]) -> None:
        """These differences are what the server answered to exactly our value."""
        for difference in differences:
            known = self._known.setdefault((resource, _general(difference.path)), set())
            if len(known) >= self.MOST:
                known.clear()
            known.add((_canonical(difference.ours), _canonical(difference.live)))

    def knows(self, resource: Resource, difference: Difference) -> bool:
        """Whether this difference is the server's doing."""
        known = self._known.get((resource, _general(difference.path)))
        if not known:
            return False
        if (_canonical(difference.ours), _canonical(difference.live)) in known:
            return True
        return difference.ours is MISSING and sum(ours == "" for ours, _ in known) >= self.MANY


def differs(wanted: Wanted, live: Object, *, learned: ServerMade | None = None) -> list[Path]:
    """Paths at which `live` does not look as wanted, without those that are known to be the server's doing. Empty: equal."""
    return [difference.path for difference in unexplained(wanted, live, learned or ServerMade())]


def unexplained(wanted: Wanted, live: Object, learned: ServerMade) -> list[Difference]:
    """Differences that are not known to be the server's doing."""
    return [found for found in differences(wanted, live) if not learned.knows(wanted.resource, found)]


def differences(wanted: Wanted, live: Object) -> Iterator[Difference]:
    """All differences, in the order of our body."""
    return _walk(wanted.body, live, (), frozenset(wanted.exact), exact=() in wanted.exact)


def exact_path(wanted: Wanted, path: Path) -> tuple[str, ...] | None:
    """The outermost exact path that `path` is at or below, None when it is below none."""
    found = [exact for exact in wanted.exact if path[: len(exact)] == exact]
    return min(found, key=len) if found else None


def value_at(body: Object, path: tuple[str, ...]) -> Any:
    """The value at a path of keys; MISSING when there is none."""
    value: Any = body
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return MISSING
        value = value[key]
    return value


def _walk(ours: Any, live: Any, path: Path, roots: frozenset[tuple[str, ...]], *, exact: bool) -> Iterator[Difference]:
    exact = exact or path in roots
    if isinstance(ours, Mapping) and isinstance(live, Mapping):
        for key, value in ours.items():
            other = live.get(key, MISSING)
            if not (type(value) is str and value == other):  # most leaves are equal texts: not worth a generator each
                yield from _walk(value, other, (*path, key), roots, exact=exact)
        if exact:
            for key, value in live.items():
                if key not in ours and not _blank(value):
                    yield Difference((*path, key), MISSING, value)
    elif isinstance(ours, list) and isinstance(live, list):
        if exact and len(ours) == len(live):
            for index, (one, other) in enumerate(zip(ours, live, strict=True)):
                yield from _walk(one, other, (*path, index), roots, exact=True)
        elif exact or not _covered(ours, live, path):
            yield Difference(path, ours, live)
    elif not _same(ours, live, path):
        yield Difference(path, ours, live)


def _covered(ours: list[Any], live: list[Any], path: Path) -> bool:
    """Every item of ours is contained in an item of its own in `live`, in any order (augmenting paths: greed would miss some)."""
    fits = [[index for index, other in enumerate(live) if not any(_walk(one, other, (*path, 0), frozenset(), exact=False))] for one in ours]
    taken: dict[int, int] = {}

    def place(number: int, tried: set[int]) -> bool:
        for index in fits[number]:
            if index not in tried:
                tried.add(index)
                if index not in taken or place(taken[index], tried):
                    taken[index] = number
                    return True
        return False

    return all(place(number, set()) for number in range(len(ours)))


def _same(ours: Any, live: Any, path: Path) -> bool:
    if _blank(ours) and _blank(live):
        return True
    if isinstance(ours, bool) or isinstance(live, bool):
        return ours is live
    if bool(ours == live):
        return True
    return _is_quantity(path) and (one := _quantity(ours)) is not None and one == _quantity(live)


def _blank(value: Any) -> bool:
    return value is MISSING or value is None or (isinstance(value, str | list | Mapping) and not value)


def _is_quantity(path: Path) -> bool:
    """Only where the server is known to rewrite quantities: elsewhere "1" and "1000m" are just two strings (an env value, say)."""
    if not path or path[0] != "spec":
        return False
    resources = any(path[at] == "resources" and path[at + 1] in {"limits", "requests"} for at in range(len(path) - 1))
    return resources or path[-1] in {"averageValue", "sizeLimit", "divisor"}


_SUFFIXES: Final[Mapping[str, Decimal]] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


def _quantity(value: Any) -> Decimal | None:
    """A Kubernetes quantity as a number: `500m`, `1Gi`, `1e3`, `2`; None when it is not one."""
    text = str(value)
    number = text.rstrip("numkMGTPEi")
    if (scale := _SUFFIXES.get(text[len(number) :])) is None:
        return None
    try:
        return Decimal(number) * scale
    except InvalidOperation:
        return None


def _general(path: Path) -> Path:
    """List indexes as `*`: what the server does to one item it does to all."""
    return tuple("*" if isinstance(part, int) else part for part in path)


def _canonical(value: Any) -> str:
    return "" if value is MISSING else json.dumps(value, sort_keys=True, separators=(",", ":"))
