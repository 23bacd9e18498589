"""The commit that set the image of a run, searched for in the sink's repository where neither the workload nor its engine says which one it was.

Here and not in the engine, because the mirror is here and a release must not wait for a repository; so it cannot be in the run's `spec`, which is fixed when
the run begins. It is an effect of its own (`source`), queued then and forgotten when the run ends: minutes in which the outbox has the time, and after
which the record is written without it. What is found goes into `status.source` with the same write as the effect's state. It comes after all other effects
that wait, and only the commit status of the run under way waits for it. A search that fails has found nothing.

Bounded: the last commits that changed the files which name the image, within the history that the mirror has, and not in a repository of very many files.
To cancel a search that takes long was rejected: it would leave half a pack in the mirror, every time. `git log -S` was rejected: in a mirror without
blobs it asks the server for each version of each file, one by one, and it finds a line that moved as well as an image that changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from canary.api.canaryrun import CanaryRun, EffectState, SourceConfidence, SourceInfo
from canary.api.gitsink import GitSink
from canary.gitops import sites
from canary.gitops.effects import Done, Outcome, workload_of
from canary.gitops.failures import GitFailed
from canary.gitops.gathering import Gathered, gather
from canary.gitops.git import FEW, Change, Mirror, Tip
from canary.gitops.images import parse
from canary.gitops.sites import Site, Workload

log = logging.getLogger(__name__)

LIMIT = 20
"""Commits looked at for one run."""
PATIENCE = 30.0
"""Seconds after which the next of the runs that are searched for together is left out."""
MANY = 10_000
"""Files that could name an image. Where there are more, to have them all takes too long for what waits behind this."""
SLACK = 300.0
"""Seconds by which the clock of whoever commits may be ahead; what is younger than the run by more than that has not started it."""


async def find_sources(mirror: Mirror, sink: GitSink, runs: Sequence[CanaryRun]) -> Outcome:
    """The newest commit on the branch that set the image of each run. Raises GitFailed only where the branch cannot be fetched."""
    branch = sink.spec.repository.branch
    tip = await mirror.fetch(branch, since=min(run.spec.started_at.timestamp() for run in runs))
    found: dict[str, SourceInfo] = {}
    if tip is not None:
        try:
            await _search(mirror, sink, tip, runs, found)
        except GitFailed as error:
            log.info("no further search on %s for commits that started runs: %s", branch, error)
        finally:
            sites.forget()
    text = f"no commit on {branch} is known that set the image"
    nothing = Done(EffectState.SKIPPED, reason="NoSource", text=text)
    return Outcome({name: _done(found[name]) if name in found else nothing for name in (run.metadata.name for run in runs)})


def _done(source: SourceInfo) -> Done:
    return Done(EffectState.DONE, source.revision, source=source)


async def _search(mirror: Mirror, sink: GitSink, tip: Tip, runs: Sequence[CanaryRun], found: dict[str, SourceInfo]) -> None:
    """Into `found`, run by run, so that what there was time for stays."""
    limits = sink.spec.limits
    workloads = {run.metadata.name: workload_of(run) for run in runs}
    changed = [one for one in workloads.values() if one.wanted]
    if not changed:  # nothing but other fields of the template; by its image no commit can be found
        return
    until, paths = asyncio.get_running_loop().time() + PATIENCE, [entry.path for entry in await mirror.files(tip.oid)]
    if len(sites.candidates(paths, allowed=limits.allowed_paths)) > MANY:
        return
    there = await gather(mirror, tip.oid, changed, allowed=limits.allowed_paths, max_bytes=limits.max_bytes)
    for run in runs:
        if asyncio.get_running_loop().time() >= until:
            return
        workload = workloads[run.metadata.name]
        if workload.wanted and (past := await _past(mirror, tip, there, workload, max_bytes=limits.max_bytes)):
            source = await asyncio.to_thread(past.source, not_after=run.spec.started_at.timestamp() + SLACK)
            if source is not None:
                found[run.metadata.name] = source.model_copy(update={"repository": sink.spec.repository.url})


async def _past(mirror: Mirror, tip: Tip, there: Gathered, workload: Workload, *, max_bytes: int) -> _Past | None:
    """The versions of the files that name the workload's images; None when no file does."""
    now = await asyncio.to_thread(sites.search, there.contents, workload)
    places = now.sites or now.likely
    files = sorted({path for site in places for path in site.files if path in there.entries})
    if not files:
        return None
    changes, oids = [], {there.entries[path].oid for path in files}
    for change in await mirror.changes(tip.oid, files, limit=LIMIT):
        more = oids | {oid for pair in change.files.values() for oid in pair if oid}
        if len(more) > FEW:  # as many as the server is asked for at once
            break
        changes.append(change)
        oids = more
    blobs, _ = await mirror.blobs(tip.oid, oids, max_bytes=max_bytes)
    versions = {path: there.entries[path].oid for path in files}
    return _Past(
        workload, there.contents, blobs, versions, tuple(changes), frozenset(site.where for site in places), certain=bool(now.sites)
    )


@dataclass(frozen=True, slots=True)
class _Past:
    """What the files of some places were. `versions`: their blobs at the tip by path; `changes`: newest first."""

    workload: Workload
    contents: Mapping[str, bytes]
    blobs: Mapping[str, bytes]
    versions: Mapping[str, str]
    changes: tuple[Change, ...]
    places: frozenset[str]
    certain: bool
    _seen: dict[tuple[tuple[str, str], ...], Mapping[str, bool]] = field(default_factory=dict)

    def source(self, *, not_after: float) -> SourceInfo | None:
        """The newest commit after which a place names the images, and before which it does not. Sure when there is one such commit, at the one
        place, which was there before: what a file that comes, or is moved, brings along has not been set by that commit.
        """
        after = dict(self.versions)
        found: dict[str, tuple[Change, str]] = {}
        sure = self.certain and len(self.places) == 1
        for change in self.changes:
            before = after | {path: old for path, (old, _) in change.files.items()}
            for place in sorted(self._named(after) - self._named(before)):
                if change.at <= not_after:
                    found.setdefault(change.oid, (change, place))
                    sure &= place in self._read(before)
            after = before
        if not found:
            return None
        change, _ = next(iter(found.values()))
        confidence = SourceConfidence.HIGH if sure and len(found) == 1 else SourceConfidence.LOW
        return SourceInfo(revision=change.oid, path=min(change.files), via="search", confidence=confidence)

    def _named(self, versions: Mapping[str, str]) -> set[str]:
        """The places that name the images in these versions."""
        words = [word.encode() for image, _ in self.workload.wanted.values() for word in (parse(image).tag, parse(image).digest) if word]
        texts = [self.blobs.get(oid, b"") for oid in versions.values()]
        if words and not any(word in text for word in words for text in texts):  # to read it all again for each version would take long
            return set()
        return {place for place, named in self._read(versions).items() if named}

    def _read(self, versions: Mapping[str, str]) -> Mapping[str, bool]:
        """The places that there are in these versions, and whether they name the images."""
        key = tuple(sorted(versions.items()))
        if key not in self._seen:
            files = {path: content for path, content in self.contents.items() if path not in versions}
            files |= {path: self.blobs[oid] for path, oid in versions.items() if oid in self.blobs}
            found = sites.search(files, self.workload)
            known = [site for site in (*found.sites, *found.likely) if site.where in self.places]
            self._seen[key] = {site.where: self._names(site) for site in known}
        return self._seen[key]

    def _names(self, site: Site) -> bool:
        """Whether all images here are those of the run."""
        wanted = self.workload.wanted
        pairs = [(parse(wanted[name][0]), source) for name, sources in site.images.items() if name in wanted for source in sources]
        return bool(pairs) and all(source.is_(image) and not source.aliased for image, source in pairs)
