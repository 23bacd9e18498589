"""One check asked for many canaries at once: what a mesh says about itself, and a metric source fills in.

It stands in `core` for the same reason as `canary.core.arms`: routers know the series, metric sources know how to ask, and the two know
nothing of each other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GroupKey:
    """A label by which the answer is grouped, and what it holds for one canary.

    `name` is that in the template language of queries. `twin` is a regular expression: where one canary's name is another's followed by a
    match of it, some series could belong to both, and the two must not be asked together. Empty: that cannot happen in this mesh.
    """

    label: str
    name: str
    twin: str = ""


@dataclass(frozen=True, slots=True)
class GroupedQuery:
    """A query that answers with one series for each canary, labelled with exactly the labels of `keys`.

    Besides `{{ interval }}` the template has one function for each key, called like its label: the names of all canaries as alternatives of
    a regular expression (`shop|cart`). For each canary the answer must be what its own query would have given, to the last bit.
    `lossy`: some servers lose series on the way to the answer, so that a canary without one must ask for itself.
    """

    template: str
    keys: tuple[GroupKey, ...]
    lossy: bool = False
