"""Taking a failed image back: what may be changed, and what must be left alone.

A semantic three-way: the branch's value is compared with the failed one and with the one before. Equal to the failed one: replace. Equal to the one
before: somebody has reverted already. Anything else: somebody has moved on, and we leave it. No place, or several, is never a guess; nor is a place
that other workloads use as well.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from canary.gitops import documents
from canary.gitops.documents import Place
from canary.gitops.images import parse
from canary.gitops.markers import policy_of
from canary.gitops.sites import Confidence, Search, Site, Workload, inside, search
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
    SHARED = "SharedSite"
    UNSAFE = "UnsafeEdit"

    @property
    def final(self) -> bool:
        """Whether nothing that a person does to sink or repository could make this an edit that is wanted."""
        return self in {Verdict.ALREADY_REVERTED, Verdict.SUPERSEDED, Verdict.SAME_IMAGES}


@dataclass(frozen=True, slots=True)
class Change:
    """One value that goes back: file, path in it, both texts, and how sure the place is."""

    file: str
    path: str
    old: str
    new: str
    confidence: Confidence = Confidence.HIGH


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `edits` maps a path to its new content; `changes` are the (from, to) images.

    `sites` are the values that go back, or that could: all of them, for a person who decides. `proposed` is the new content of files that a
    person may want and that is not written by itself. `notes` are sentences about what else to know.
    """

    verdict: Verdict
    explanation: str = ""
    edits: Mapping[str, bytes] = field(default_factory=dict)
    changes: tuple[tuple[str, str], ...] = ()
    confidence: Confidence = Confidence.HIGH
    sites: tuple[Change, ...] = ()
    proposed: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def plan(files: Mapping[str, bytes], workload: Workload, *, unread: tuple[str, ...] = (), allowed: Sequence[str] = ()) -> Plan:
    """What to write for this failed workload. Pure; never raises for what a file holds.

    `unread`: files that were too large to read. `allowed`: patterns of the paths that may be edited; others are read only.
    """
    if not workload.wanted:
        known = (
            "has the images of the one before; only other fields of its template differ" if workload.previous else "has no one before it"
        )
        return Plan(Verdict.SAME_IMAGES, f"the failed release {known}")
    found = search(files, workload)
    found.obstacles += [f"{path} is larger than limits.maxBytes" for path in unread]
    _forbid(found, allowed)
    return _Planner(files, workload, found, allowed).plan()


def _forbid(found: Search, allowed: Sequence[str]) -> None:
    """Forget sites of which no file may be edited: they are those of other clusters, or somebody else's."""
    for sites in (found.sites, found.likely):
        for site in [site for site in sites if not any(inside(path, allowed) for path in site.files)]:
            sites.remove(site)
            found.obstacles.append(f"{site} is outside limits.allowedPaths")


_RANK = (Verdict.ALREADY_REVERTED, Verdict.EDIT, Verdict.SUPERSEDED, Verdict.UNSAFE)
"""The last of those that containers and places say is what holds."""


@dataclass(frozen=True, slots=True)
class _Planner:
    files: Mapping[str, bytes]
    workload: Workload
    found: Search
    allowed: Sequence[str]

    def plan(self) -> Plan:
        sites = self.found.sites
        if not sites:
            return self._likely() or self._nowhere()
        if len(sites) > 1 and any(self._names_failed(site) for site in sites):
            return self._ambiguous(sites, f"{self.workload} is declared in several places")
        site, verdict = sites[0], max(map(self._state, sites), key=_RANK.index)
        match verdict:
            case Verdict.EDIT:
                return self._edit(site)
            case Verdict.UNSAFE:
                return Plan(verdict, f"{site} shares the image through an anchor")
            case Verdict.ALREADY_REVERTED:
                return Plan(verdict, f"{site} already names the images of the release before")
            case _:
                return self._elsewhere(site) or Plan(Verdict.SUPERSEDED, f"{site} names another image by now")

    def _state(self, site: Site) -> Verdict:
        """EDIT when a container has the failed image and none has a third one."""
        states = []
        for name, (failed, before) in self.workload.wanted.items():
            sources = site.images.get(name, ())
            if not sources and not site.partial:
                states.append(Verdict.SUPERSEDED)
            for source in sources:
                if source.aliased:
                    states.append(Verdict.UNSAFE)
                elif source.is_(parse(failed)):
                    states.append(Verdict.EDIT)
                else:
                    states.append(Verdict.ALREADY_REVERTED if source.is_(parse(before)) else Verdict.SUPERSEDED)
        return max(states, key=_RANK.index)

    def _names_failed(self, site: Site) -> bool:
        """Whether some image here is the failed one, or may be."""
        return any(
            source.aliased or source.is_(parse(self.workload.wanted[name][0]))
            for name, sources in site.images.items()
            for source in sources
        )

    def _changes(self, site: Site) -> tuple[dict[Place, str], tuple[tuple[str, str], ...]]:
        """New texts by place, and the images that go back. Raises Unsafe."""
        texts: dict[Place, str] = {}
        pairs = []
        for name, (failed, before) in self.workload.wanted.items():
            for source in site.images.get(name, ()):
                if source.aliased or not source.is_(parse(failed)):
                    continue
                for place, text in source.restored(parse(failed), parse(before)).items():
                    if texts.setdefault(place, text) != text:
                        raise Unsafe(f"has one value for images that differ, at {place.shown}")
                pairs.append((failed, before))
        return texts, tuple(dict.fromkeys(pairs))

    def _edit(self, site: Site) -> Plan:
        try:
            texts, pairs = self._changes(site)
        except Unsafe as error:
            return Plan(Verdict.UNSAFE, f"{site} {error}")
        places = tuple(
            Change(place.file, place.shown, place.value, text, site.confidence) for place, text in sorted(texts.items(), key=_order)
        )
        if outside := sorted({place.file for place in texts if not inside(place.file, self.allowed)}):
            return Plan(Verdict.NO_SITE, f"{outside[0]} is outside limits.allowedPaths; revert it by hand", sites=places)
        try:
            edits = documents.edited(self.files, texts)
            self._prove(site, edits)
        except Unsafe as error:
            return Plan(Verdict.UNSAFE, str(error), sites=places)
        notes = self._notes(texts)
        users = sorted(set().union(*(self.found.users.get(place, set()) for place in texts)))
        if len(users) > 1:
            others = ", ".join(users[:SHOWN])
            return Plan(
                Verdict.SHARED,
                f"{places[0].file} sets the image of several workloads: {others}",
                {},
                pairs,
                site.confidence,
                places,
                edits,
                notes,
            )
        return Plan(Verdict.EDIT, "", edits, pairs, site.confidence, places, notes=notes)

    def _prove(self, site: Site, edits: Mapping[str, bytes]) -> None:
        """Read the repository again as it would be. Raises Unsafe when that does not give the images before."""
        after = search({**self.files, **edits}, self.workload)
        same = [one for one in (*after.sites, *after.likely) if one.where == site.where and one.images.keys() == site.images.keys()]
        if not any(self._state(one) is Verdict.ALREADY_REVERTED for one in same):
            raise Unsafe(f"{site} would not give the images of the release before")

    def _notes(self, places: Mapping[Place, str]) -> tuple[str, ...]:
        policies = sorted({policy for place in places if (policy := policy_of(place))})
        return tuple(f"ImagePolicy {policy.replace(':', '/')} sets this value, and may set the failed one again" for policy in policies)

    def _likely(self, because: str = "") -> Plan | None:
        """What is alike and has the failed image: told, not written."""
        sites = [site for site in self.found.likely if self._state(site) is Verdict.EDIT]
        if len(sites) > 1:
            return self._ambiguous(sites, because or f"nothing leads to {self.workload}, and several places have its image")
        if not sites:
            return None
        found = self._edit(sites[0])
        if found.verdict not in {Verdict.EDIT, Verdict.SHARED}:
            return replace(found, confidence=Confidence.LOW)
        text = because or f"no plain manifest of {self.workload} leads there for certain: {sites[0]}; {sites[0].why}"
        return replace(
            found, verdict=Verdict.NO_SITE, explanation=text, edits={}, confidence=Confidence.LOW, proposed=found.edits or found.proposed
        )

    def _ambiguous(self, sites: Sequence[Site], text: str) -> Plan:
        changes: dict[Change, None] = {}
        for site in sites:
            try:
                texts, _ = self._changes(site)
            except Unsafe:
                continue
            changes |= {
                Change(one.file, one.shown, one.value, new, Confidence.AMBIGUOUS): None for one, new in sorted(texts.items(), key=_order)
            }
        places = ", ".join(str(site) for site in sites[:SHOWN])
        return Plan(Verdict.AMBIGUOUS, f"{text}: {places}", confidence=Confidence.AMBIGUOUS, sites=tuple(changes))

    def _nowhere(self) -> Plan:
        more = f"; {'; '.join(self.found.obstacles[:SHOWN])}" if self.found.obstacles else ""
        text = f"no plain manifest of {self.workload} names its images, and nothing else that leads to it{more}"
        return Plan(Verdict.NO_SITE, text, confidence=Confidence.LOW)

    def _elsewhere(self, site: Site) -> Plan | None:
        """The manifest names a place-holder that something else replaces: nobody has moved on, but the image is not there."""
        for source in site.sources:
            literal = source.parts[:1] == source.parts
            if literal and (override := self.found.overrides.get(source.image.name)):
                file = source.parts[0].place.file
                text = f"the image in {file} is replaced by `images` in {override}, which does not refer to it; revert it by hand"
                return self._likely(text) or Plan(Verdict.NO_SITE, text, confidence=Confidence.LOW)
            file = source.parts[0].place.file
            if "${" in str(source.image):
                return Plan(Verdict.NO_SITE, f"the image in {file} is a variable ({str(source.image)[:80]}); revert it by hand")
            if literal and not (source.image.tag or source.image.digest):
                return Plan(Verdict.NO_SITE, f"the image in {file} has no version ({source.image}); revert it where the version is set")
        if site.odd:
            return Plan(Verdict.NO_SITE, f"the image of {site} may be set by {site.odd}, which is not followed; revert it by hand")
        return None


def _order(item: tuple[Place, str]) -> tuple[str, int, str]:
    place = item[0]
    return place.file, place.document, place.shown
