"""What a revert would be, from three commits of a repository alone: without a cluster, and without writing anything.

The images come from the two revisions in the way in which the outbox finds places on a branch, so that a preview shows what the outbox would do.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from canary.gitops.helm_values import VALUES
from canary.gitops.images import parse
from canary.gitops.reading import quoted
from canary.gitops.revert import SHOWN, Plan, Verdict, plan
from canary.gitops.sites import Confidence, Search, Site, Workload, search

KINDS = (("apps", "Deployment"), ("apps", "DaemonSet"), ("serving.knative.dev", "Service"))
"""What can be released, the usual first."""


@dataclass(frozen=True, slots=True)
class Released:
    """What two revisions say of a workload. `workload` has images where they differ; else `problem` says why there is nothing to restore."""

    workload: Workload
    problem: Plan | None = None
    notes: tuple[str, ...] = ()
    doubt: str = ""
    """Why the images may not be those of the workload."""


def unknown(namespace: str, name: str) -> list[Workload]:
    """A workload of which nothing but the name is known, as each of the kinds."""
    return [Workload(group, kind, namespace, name, {}, {}) for group, kind in KINDS]


def released(promoted: Mapping[str, bytes], failed: Mapping[str, bytes], namespace: str, name: str) -> Released:
    """Compare the workload's images at two revisions. Pure; never raises for what a file holds."""
    both = [(one, search(promoted, one), search(failed, one)) for one in unknown(namespace, name)]
    one, before, after = next((each for each in both if any(_by_container(site) for site in each[2].sites)), both[0])
    notes = tuple(
        f"the chart version differs, too ({before.versions[where]} before, {version} now); it is not restored"
        for where, version in after.versions.items()
        if before.versions.get(where, version) != version
    )
    for old, new in ((before.sites, after.sites), (before.likely, after.likely), (before.sites, [*after.sites, *after.likely])):
        pairs, clash = _differing(old, new)
        if clash:
            places = ", ".join(str(site) for site in after.sites[:SHOWN])
            text = f"{one} is declared in several places with different images: {places}"
            return Released(one, Plan(Verdict.AMBIGUOUS, text, confidence=Confidence.AMBIGUOUS), notes)
        if pairs:
            return _known(one, pairs, notes)
    return Released(one, _nothing(one, before, after), notes)


def _known(one: Workload, pairs: Mapping[str, tuple[str, str]], notes: tuple[str, ...]) -> Released:
    """The workload with its images. A release may hold images of others: those of values that are not clearly its own are left."""
    mine = {key: pair for key, pair in pairs.items() if not key.startswith(VALUES) or _related(key, pair[0], one.name)}
    left = {key: pair for key, pair in pairs.items() if mine and key not in mine}
    used = mine or pairs
    told = tuple(
        f"{key.removeprefix(VALUES)} differs, too ({old} before, {new} now); it is not clear that it is of {one.name}, and is left"
        for key, (new, old) in left.items()
    )
    workload = replace(one, failed={key: pair[0] for key, pair in used.items()}, previous={key: pair[1] for key, pair in used.items()})
    doubt = "" if mine else f"the values do not say that {', '.join(pair[0] for pair in used.values())} is the image of {one.name}"
    return Released(workload, None, (*notes, *told), doubt)


def _related(key: str, image: str, name: str) -> bool:
    """Whether values name the chart's first image, or one that is called like the workload."""
    base = posixpath.basename(parse(image).name)
    return (
        key.removeprefix(VALUES) in {"image", "image*"} or bool(base and (base in name or name in base)) or name in re.split(r"[.:]", key)
    )


def preview(base: Mapping[str, bytes], known: Released, *, unread: tuple[str, ...] = ()) -> Plan:
    """What the outbox would do on `base`. What it would leave to a person is in `proposed`."""
    if known.problem:
        return replace(known.problem, notes=known.notes)
    found = plan(base, known.workload, unread=unread)
    if known.doubt and found.verdict is Verdict.EDIT:
        sites = tuple(replace(site, confidence=Confidence.LOW) for site in found.sites)
        found = replace(found, confidence=Confidence.LOW, explanation=known.doubt, sites=sites)
    return replace(found, notes=(*found.notes, *known.notes))


def patch(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> str:
    """A text for `git apply`; its lines end as those of the files do."""
    return "".join(_file_patch(path, old[path].decode(), new[path].decode()) for path in sorted(new))


def _by_container(site: Site) -> bool:
    return not all(key.startswith(VALUES) for key in site.images)


def _differing(old: Sequence[Site], new: Sequence[Site]) -> tuple[dict[str, tuple[str, str]], bool]:
    """(failed, before) by container or place of values; and whether places contradict one another."""
    found: dict[str, tuple[str, str]] = {}
    for site in new:
        other = _before(site, old, new)
        for key, image in _texts(site).items():
            before = _texts(other).get(key, image) if other else image
            if image != before and found.setdefault(key, (image, before)) != (image, before):
                return {}, True
    return found, False


def _before(site: Site, old: Sequence[Site], new: Sequence[Site]) -> Site | None:
    """The same declaration at the other revision; the only one there is may have moved."""
    return next((one for one in old if one.where == site.where), old[0] if len(old) == len(new) == 1 else None)


def _texts(site: Site) -> dict[str, str]:
    return {key: str(sources[0].image) for key, sources in site.images.items() if not sources[0].aliased}


def _nothing(one: Workload, before: Search, after: Search) -> Plan:
    """Why the revisions give nothing to restore."""
    name = f"{one.namespace}/{one.name}"
    if shared := next((site for site in after.sites for source in site.sources if source.aliased), None):
        return Plan(Verdict.UNSAFE, f"{shared} shares the image of {name} through an anchor")
    for found, revision in ((after, "failed"), (before, "promoted")):
        if not found.sites and not found.likely:
            more = f"; {'; '.join(dict.fromkeys(found.obstacles[:SHOWN]))}" if found.obstacles else ""
            return Plan(Verdict.NO_SITE, f"nothing at the {revision} revision names images of {name}{more}", confidence=Confidence.LOW)
    places = ", ".join(str(site) for site in (after.sites or after.likely)[:SHOWN])
    for site in after.sites:
        other = _before(site, before.sites, after.sites)
        if other is None or not _texts(site).keys() & _texts(other).keys():
            text = f"{name} is declared in another way at the promoted revision than at the failed one, in {site}"
            return Plan(Verdict.AMBIGUOUS, text, confidence=Confidence.AMBIGUOUS)
    return Plan(Verdict.SAME_IMAGES, f"{name} has the same images at both revisions ({places})")


def _file_patch(path: str, old: str, new: str) -> str:
    names = [quoted(f"{side}/{path}").decode() for side in "ab"]
    names = [name if "\\" in name else name[1:-1] for name in names]
    tab = "\t" if " " in path and not names[0].startswith('"') else ""
    lines = [f"diff --git {names[0]} {names[1]}\n", f"--- {names[0]}{tab}\n", f"+++ {names[1]}{tab}\n"]
    hunks = list(difflib.unified_diff(_lines(old), _lines(new), n=3))[2:]
    return "".join([*lines, *(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in hunks)])


def _lines(text: str) -> list[str]:
    """Lines as git has them: only LF ends one."""
    lines = [f"{line}\n" for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "\n" else [*lines[:-1], lines[-1][:-1]]
