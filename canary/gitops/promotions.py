"""What Git says was promoted last, for a canary whose primary is about to be made: on a rebuilt cluster the manifests name a version that nobody has analysed.

Asked once per sink for all canaries that begin together, and kept for a minute. Whoever asks waits a few seconds and no longer: a cluster whose Git is away must
come up without it, as Flagger's does. The records' branch is written to by whoever may push there, so a record chooses a version and never an image: one of
another name than the template's is not taken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from canary.api.canary import Canary
from canary.api.errors import InvalidObject
from canary.api.gitsink import BootstrapPrimary, GitSink, parse_git_sink
from canary.gitops import record, shelf
from canary.gitops.failures import as_failure
from canary.gitops.git import Mirror
from canary.gitops.images import parse
from canary.gitops.queue import Key
from canary.kube.cluster import Cluster
from canary.kube.resource import GIT_SINKS

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a bootstrap waits for Git."""
KEPT = 60.0
"""Seconds for which an answer, or that there was none, is kept."""
Images = Mapping[str, str]
Read = Callable[[GitSink], Awaitable[Mapping[str, Images]]]
"""Images by container of the last promotions of the sink's namespace, by canary. Raises what reading raises."""


@dataclass(frozen=True, slots=True)
class Said:
    """What Git says: images by container, none where nothing was promoted; or why it said nothing."""

    images: Images = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    spec: object
    at: float
    answer: asyncio.Task[Mapping[str, Images]]


class Promotions:
    """Asks for all canaries. `clock` is Unix time."""

    def __init__(self, cluster: Cluster, read: Read, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._read = read
        self._clock = clock
        self._asked: dict[Key, _Asked] = {}
        self._tasks: set[asyncio.Task[Mapping[str, Images]]] = set()

    def wanted(self, canary: Canary) -> GitSink | None:
        """The sink that wants this canary to begin with what was promoted; of several the first by name."""
        found = []
        for body in self._cluster.list(GIT_SINKS, canary.metadata.namespace):
            try:
                sink = parse_git_sink(body)
            except InvalidObject:
                continue
            chosen = sink.spec.canaries.matches(canary.metadata.labels)
            if chosen and sink.spec.on_bootstrap.primary is BootstrapPrimary.PROMOTED and not sink.spec.suspend:
                found.append(sink)
        return min(found, key=lambda sink: sink.metadata.name, default=None)

    async def of(self, sink: GitSink, canary: str) -> Said:
        """What was promoted last of this canary, within `PATIENCE`. Never raises for what Git does."""
        asked = self._ask(sink)
        try:
            async with asyncio.timeout(PATIENCE):
                return Said((await asyncio.shield(asked.answer)).get(canary, {}))
        except TimeoutError:
            return Said(error=f"Git has not answered within {PATIENCE:g} s")
        except asyncio.CancelledError:
            if asked.answer.cancelled() and not _is_cancelled():
                return Said(error="this operator stops")
            raise
        except Exception as error:
            failure = as_failure(error)
            log.info("git: %s", failure.text, exc_info=failure.reason == "Unexpected")
            return Said(error=failure.text)

    async def stop(self) -> None:
        """Give up what is still being asked."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ask(self, sink: GitSink) -> _Asked:
        key = (sink.metadata.namespace, sink.metadata.name)
        known = self._asked.get(key)
        if known is None or known.spec != sink.spec or (known.answer.done() and self._clock() >= known.at + KEPT):
            task = asyncio.ensure_future(self._read(sink))  # whoever waits for the one before waits on
            self._tasks.add(task)
            task.add_done_callback(self._done)
            known = self._asked[key] = _Asked(sink.spec, self._clock(), task)
        return known

    def _done(self, task: asyncio.Task[Mapping[str, Images]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever asks; nobody may


def _is_cancelled() -> bool:
    """Whether it is the caller that is cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def read(mirror: Mirror, sink: GitSink) -> dict[str, Images]:
    """The pointers of this cluster's canaries in the sink's namespace; none without the branch. Raises GitFailed."""
    folder = f"{sink.spec.cluster}/{sink.metadata.namespace}"
    shelves = await shelf.read(mirror, await mirror.fetch(shelf.place(sink)), {folder})
    pointers = {path: entry for path, entry in shelves.entries.items() if path.endswith(f"/{record.POINTER}")}
    blobs, _ = await mirror.blobs(shelves.tip, [entry.oid for entry in pointers.values()], max_bytes=2 * record.MAX_BYTES)
    found = {path.split("/")[-2]: _images(blobs[entry.oid]) for path, entry in pointers.items() if entry.oid in blobs}
    return {name: images for name, images in found.items() if images}


def versions(said: Images, template: Images) -> tuple[dict[str, str], str]:
    """The images of the template with what was promoted put in, and what is against it. The first is empty where that is no other version."""
    strange = sorted(name for name, image in said.items() if name in template and parse(image).name != parse(template[name]).name)
    if strange:
        return {}, f"the image of container {strange[0]} has another name in Git: {said[strange[0]][:200]}"
    if missing := sorted(said.keys() - template.keys()):
        return {}, f"what was promoted has a container {missing[0][:63]!r}, which the template has not"
    changed = {name: image for name, image in said.items() if template[name] != image}
    return (dict(template) | changed if changed else {}), ""


def _images(content: bytes) -> Images:
    release = record.decode(content).get("release")
    images = release.get("images") if isinstance(release, dict) else None
    if not isinstance(images, dict) or not all(isinstance(text, str) and text for text in images.values()):
        return {}
    return images
