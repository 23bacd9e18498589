"""Taking a failed image back: what may be changed, and what must be left alone.

A semantic three-way: the branch's value is compared with the failed one and with the one before. Equal to the failed one: replace. Equal to the one
before: somebody has reverted already. Anything else: somebody has moved on, and we leave it. No place, or several, is never a guess.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from canary.gitops import splice
from canary.gitops.sites import Search, Site, Workload, repository, search
from canary.gitops.splice import Unsafe

SHOWN = 5
"""Places and obstacles named in an explanation."""


class Verdict(enum.StrEnum):
    """EDIT: commit the edits. The others: nothing is written, for this reason."""

    EDIT = "Edit"
    ALREADY_REVERTED = "AlreadyReverted"
    SUPERSEDED = "Superseded"
    SAME_IMAGES = "SameImages"
    AMBIGUOUS = "Ambiguous"
    NO_SITE = "NoSite"
    UNSAFE = "UnsafeEdit"

    @property
    def final(self) -> bool:
        """Whether nothing that a person does to sink or repository could make this an edit that is wanted."""
        return self in {Verdict.ALREADY_REVERTED, Verdict.SUPERSEDED, Verdict.SAME_IMAGES}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `edits` maps a path to its new content; `changes` are the (from, to) images."""

    verdict: Verdict
    explanation: str = ""
    edits: Mapping[str, bytes] = field(default_factory=dict)
    changes: tuple[tuple[str, str], ...] = ()


def plan(files: Mapping[str, bytes], workload: Workload, *, unread: tuple[str, ...] = ()) -> Plan:
    """What to write for this failed workload. Pure; never raises for what a file holds. `unread`: files that were too large to read."""
    if not workload.wanted:
        known = (
            "has the images of the one before; only other fields of its template differ" if workload.previous else "has no one before it"
        )
        return Plan(Verdict.SAME_IMAGES, f"the failed release {known}")
    found = search(files, workload)
    named = f"{workload.kind} {workload.namespace}/{workload.name}"
    if not found.sites:
        obstacles = [*found.obstacles, *(f"{path} is larger than limits.maxBytes" for path in unread)]
        more = f"; {'; '.join(obstacles[:SHOWN])}" if obstacles else ""
        return Plan(Verdict.NO_SITE, f"no plain manifest of {named} names its images{more}")
    verdicts = [_of_site(site, workload) for site in found.sites]
    if len(found.sites) > 1 and any(_names_failed(site, workload) for site in found.sites):
        places = ", ".join(str(site) for site in found.sites[:SHOWN])
        return Plan(Verdict.AMBIGUOUS, f"{named} is declared in several places: {places}")
    site, verdict = found.sites[0], max(verdicts, key=_RANK.index)
    match verdict:
        case Verdict.EDIT:
            return _edit(site, files[site.path], workload)
        case Verdict.UNSAFE:
            return Plan(verdict, f"{site.path} shares the image through an anchor")
        case Verdict.ALREADY_REVERTED:
            return Plan(verdict, f"{site.path} already names the images of the release before")
        case _:
            return _elsewhere(site, found) or Plan(Verdict.SUPERSEDED, f"{site.path} names another image by now")


_RANK = (Verdict.ALREADY_REVERTED, Verdict.EDIT, Verdict.SUPERSEDED, Verdict.UNSAFE)
"""The last of those that containers and places say is what holds."""


def _of_site(site: Site, workload: Workload) -> Verdict:
    """EDIT when a container has the failed image and none has a third one."""
    states = []
    for name, (failed, before) in workload.wanted.items():
        leaf = site.images.get(name)
        if leaf is not None and leaf.alias:
            states.append(Verdict.UNSAFE)
        else:
            value = leaf.value if leaf else ""
            states.append({failed: Verdict.EDIT, before: Verdict.ALREADY_REVERTED}.get(value, Verdict.SUPERSEDED))
    return max(states, key=_RANK.index)


def _names_failed(site: Site, workload: Workload) -> bool:
    """Whether some image here is the failed one, or may be."""
    return any(leaf.alias or leaf.value == workload.wanted[name][0] for name, leaf in site.images.items())


def _edit(site: Site, content: bytes, workload: Workload) -> Plan:
    changes = {name: images for name, images in workload.wanted.items() if site.images[name].value == images[0]}
    places = {(site.document, site.images[name].path): before for name, (_, before) in changes.items()}
    try:
        text = splice.replace(splice.decode(content), places)
    except Unsafe as error:
        return Plan(Verdict.UNSAFE, f"{site.path} {error}")
    return Plan(Verdict.EDIT, edits={site.path: text.encode()}, changes=tuple(dict.fromkeys(changes.values())))


def _elsewhere(site: Site, found: Search) -> Plan | None:
    """The manifest names a place-holder that something else replaces: nobody has moved on, but the image is not there."""
    for leaf in site.images.values():
        if override := found.overrides.get(repository(leaf.value)):
            return Plan(
                Verdict.NO_SITE, f"the image in {site.path} is replaced by `images` in {override}, which is not edited; revert it by hand"
            )
        if "${" in leaf.value:
            return Plan(Verdict.NO_SITE, f"the image in {site.path} is a variable ({leaf.value[:80]}); revert it by hand")
    return None
