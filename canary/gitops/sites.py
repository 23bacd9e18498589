"""Where in a repository a workload's images are named, found by following what refers to what, and not by names of folders.

A path convention was rejected: every repository has its own. What leads to the workload (its manifest, the kustomizations that reach that, the Helm
release that makes it, our marker) is certain. What is only alike (an entry or a value with the same image that nothing connects with the
workload) is told to people and not edited by itself.
"""

from __future__ import annotations

import enum
import fnmatch
import functools
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from canary.gitops import argocd, documents, flux
from canary.gitops.binding import bound
from canary.gitops.documents import Place
from canary.gitops.helm_values import Release
from canary.gitops.images import Sourced, files_of, parse
from canary.gitops.kustomize import is_kustomization
from canary.gitops.layout import MANIFESTS, Delivered, Layout
from canary.gitops.likeness import loose_entries, loose_values
from canary.gitops.markers import OURS, marked_for

_CONNECTS = re.compile(
    rb"^[\"']?(?:resources|bases|components|patches\w*|images|configMapGenerator)[\"']?\s*:"
    rb"|kustomize\.toolkit\.fluxcd\.io|kustomize\.config\.k8s\.io|argoproj\.io",
    re.MULTILINE,
)


class Confidence(enum.StrEnum):
    """How sure it is that a place is the one. AMBIGUOUS: several could be, and nothing tells which."""

    HIGH = "high"
    LOW = "low"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class Workload:
    """What was released: group, kind, namespace, name, and the images by container that failed and that ran before.

    A key may also be a place of values (`values:image`), and an image may lack its name (`:tag`), where only a repository is known.
    """

    group: str
    kind: str
    namespace: str
    name: str
    failed: Mapping[str, str]
    previous: Mapping[str, str]

    @property
    def wanted(self) -> Mapping[str, tuple[str, str]]:
        """(failed, before) by container, where they differ."""
        both = {name: (image, self.previous[name]) for name, image in self.failed.items() if name in self.previous}
        return {name: images for name, images in both.items() if images[0] != images[1]}

    def may_be_in(self, content: bytes) -> bool:
        """Whether a file is worth parsing: it names the workload or its images, or it connects files. Cheap, because every file is asked."""
        if _connects(content):  # first: of a repository's kustomizations, which every search asks again, nothing else needs to be known
            return True
        named = any(name in content and _word(name).search(content) for name in _parts(self.name))
        if named and (self.kind.encode() in content or b"HelmRelease" in content or b"$canary" in content):
            return True
        if named and not self.failed and b"image" in content:
            return True
        images = (repository(image) for image, _ in self.wanted.values())
        return b"image" in content and any(name and name.encode() in content for name in images)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Site:
    """One declaration of the workload and the images in it that count, by container.

    `exact`: it says the namespace, too. `partial`: containers that it does not name get their images from a chart. `why`: what speaks against it.
    """

    where: str
    images: Mapping[str, tuple[Sourced, ...]]
    exact: bool = True
    confidence: Confidence = Confidence.HIGH
    partial: bool = False
    why: str = ""
    odd: str = ""
    """What else may have set the images, and is not followed."""

    @property
    def sources(self) -> tuple[Sourced, ...]:
        return tuple(one for sources in self.images.values() for one in sources)

    @property
    def files(self) -> frozenset[str]:
        return files_of(self.sources)

    @property
    def key(self) -> frozenset[tuple[str, Place]]:
        """Equal for declarations that are written at the same places."""
        return frozenset((name, part.place) for name, sources in self.images.items() for one in sources for part in one.parts)

    def __str__(self) -> str:
        return self.where


@dataclass(slots=True)
class Search:
    """What was found: `sites` that lead to the workload, `likely` ones that are only alike, and who else uses which place.

    `obstacles` are sentences about files that may name the images and cannot be edited.
    """

    sites: list[Site] = field(default_factory=list)
    likely: list[Site] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    overrides: dict[str, str] = field(default_factory=dict)
    """Image name to a kustomization that replaces it and reaches nothing that has it."""
    users: dict[Place, set[str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """Chart versions by the release that may make the workload."""


def candidates(paths: Iterable[str], *, allowed: Sequence[str]) -> list[str]:
    """The YAML files that may be edited; `**` in a pattern crosses folders."""
    return [path for path in paths if (path.endswith(MANIFESTS) or is_kustomization(path)) and inside(path, allowed)]


def inside(path: str, allowed: Sequence[str]) -> bool:
    """Whether a path is one of those that may be edited; all are when nothing is said."""
    return not allowed or any(_matches(path.split("/"), pattern.split("/")) for pattern in allowed)


def forget() -> None:
    """Let go of what was read: a large repository is in memory only while it is looked at. What its kustomizations say is little, and is kept."""
    for cached in (documents.read, _connects):
        cached.cache_clear()


def search(files: Mapping[str, bytes], workload: Workload) -> Search:
    """All places that name images of this workload; every image of it when it says none. Never raises for what a file holds."""
    layout = Layout(files, worth={path for path, content in files.items() if workload.may_be_in(content)})
    found, delivered = Search(), layout.delivered()
    releases = [(each, release) for each in delivered for release in _releases(each, layout)]
    for each in delivered:
        for source in each.one.images.values():
            _use(found, source, _identity(each))
    for each, release in releases:
        for source in release.images.values():
            _use(found, source, f"release {release.namespace}/{release.name}" if release.namespace else f"release {release.name} of {each}")
    sites = [site for each in delivered if (site := _declared(found, each, workload))]
    sites += [
        site
        for each, release in releases
        for site in _released(found, each, release, workload, declares=_template(layout, release.folder, workload))
    ]
    worth = (path for path in sorted(layout.worth) if not is_kustomization(path) or OURS.encode() in files[path])
    read = [document for path in worth for document in layout.read(path)]
    if marked := marked_for(read, workload.namespace, workload.name):
        sites = list(_marked(marked, workload))
    sites = [site for site in sites if not _encrypted(found, site, layout)]
    _sort(found, [*sites, *_alike(found, layout, workload)])
    for path, problem in layout.problems.items():
        if _word(workload.name.encode()).search(files[path]):
            found.obstacles.append(f"{path} {problem}")
    return found


def repository(image: str) -> str:
    """An image without tag and digest; the colon of a registry's port is neither."""
    return parse(image).name


def _marked(marked: Mapping[str, Sourced], workload: Workload) -> Iterator[Site]:
    """What our marker says is the workload's."""
    where = f"the marker in {min(files_of(marked.values()))}"
    if not workload.failed:
        yield Site(where, {container: (one,) for container, one in marked.items()})
    for one in bound(marked, workload.wanted, sure=True):
        yield Site(where, one.images, partial=one.partial)


def _releases(each: Delivered, layout: Layout) -> Iterator[Release]:
    if flux.is_release(each.one):
        yield flux.release(each.one, each.beside, layout.read)
    elif argocd.is_application(each.one):
        yield from argocd.releases(each.one, layout.read)


def _declared(found: Search, each: Delivered, workload: Workload) -> Site | None:
    """The place where a manifest, or what is made of it, declares the workload."""
    one = each.one
    if (one.group, one.kind, one.name) != (workload.group, workload.kind, workload.name) or one.namespace not in {"", workload.namespace}:
        return None
    images = {name: (image,) for name, image in one.images.items() if name in workload.wanted or not workload.failed}
    if one.document.encrypted:  # its checksum covers every value
        found.obstacles.append(f"{one.document.file} is encrypted by SOPS")
    elif images:
        confidence = Confidence.LOW if one.doubts else Confidence.HIGH
        return Site(str(each), images, bool(one.namespace), confidence, why="; ".join(one.doubts), odd=one.odd)
    elif any(place.alias and path[:1] == ("spec",) for path, place in one.leaves.items()):
        found.obstacles.append(f"{one.document.file} shares its containers through an anchor")
    return None


def _released(found: Search, each: Delivered, release: Release, workload: Workload, *, declares: bool) -> Iterator[Site]:
    """The places where the values of a release name images of the workload."""
    if release.namespace not in {"", workload.namespace}:
        return
    makes = declares or release.makes(workload.name)
    if makes or release.may_make(workload.name):
        found.versions[str(each)] = release.version
        found.obstacles += [f"{path} cannot be read" for path in release.unread]
    # an umbrella chart keeps the values of each part under the part's name
    own = {key: one for key, one in release.images.items() if not makes and workload.name in re.split(r"[.:]", key)}
    images = own or release.images
    if not workload.failed:
        if images and (makes or own or release.may_make(workload.name)):
            every = {key: (one,) for key, one in images.items()}
            yield Site(str(each), every, bool(release.namespace), Confidence.HIGH if makes else Confidence.LOW)
        return
    for one in bound(images, workload.wanted, sure=makes):
        why = ""
        if not makes:
            why = f"the release {release.name} does not clearly make {workload.name}"
        elif one.partial:
            why = "other images of the release come from the chart"
        elif one.vague:
            why = "the values do not say which image the tag is of"
        if makes or own or all(source.image.name for sources in one.images.values() for source in sources):
            confidence = Confidence.LOW if why else Confidence.HIGH
            yield Site(str(each), one.images, bool(release.namespace), confidence, one.partial, why)


def _template(layout: Layout, folder: str, workload: Workload) -> bool:
    """Whether a template of a chart in the repository declares the workload by this very name."""
    line = re.compile(rb"^\s*name:\s*[\"']?" + re.escape(workload.name.encode()) + rb"[\"']?\s*$", re.MULTILINE)
    paths = [path for path in layout.worth if folder and path.startswith(f"{folder}/templates/")]
    return any(workload.kind.encode() in layout.files[path] and line.search(layout.files[path]) for path in paths)


def _alike(found: Search, layout: Layout, workload: Workload) -> Iterator[Site]:
    """What is only alike."""
    free = list(loose_values(layout, found.users))
    names = {posixpath.basename(repository(image)) for pair in workload.wanted.values() for image in pair} or {workload.name}
    for name, entry in loose_entries(layout, found.users, names):
        found.overrides.setdefault(name, next(iter(entry.images.values())).parts[0].place.file)
        free.append(entry)
    for each in free:
        named = {key: one for key, one in each.images.items() if one.image.name and not one.aliased}
        why = "only the image is alike"
        if not workload.failed:
            every = {key: (one,) for key, one in named.items() if posixpath.basename(one.image.name) == workload.name}
            if every:
                yield Site(each.where, every, exact=False, confidence=Confidence.LOW, why=why)
            continue
        for one in bound(named, workload.wanted):
            yield Site(each.where, one.images, exact=False, confidence=Confidence.LOW, partial=one.partial, why=why)


def _encrypted(found: Search, site: Site, layout: Layout) -> bool:
    secret = [path for path in sorted(site.files) if any(document.encrypted for document in layout.read(path))]
    found.obstacles += [f"{path} is encrypted by SOPS" for path in secret]
    return bool(secret)


def _sort(found: Search, sites: Sequence[Site]) -> None:
    """Each place once; those that say the namespace win over those that say none."""
    once: dict[frozenset[tuple[str, Place]], Site] = {}
    for site in sites:
        if site.key not in once or (site.exact and not once[site.key].exact):
            once[site.key] = site
    sure = [site for site in once.values() if site.confidence is Confidence.HIGH]
    found.sites = [site for site in sure if site.exact] or sure
    found.likely = [site for site in once.values() if site.confidence is Confidence.LOW]


def _use(found: Search, source: Sourced, user: str) -> None:
    for part in source.parts:
        found.users.setdefault(part.place, set()).add(user)


def _identity(each: Delivered) -> str:
    """Who uses a place; an object without a namespace may be another one in every folder that delivers it."""
    one = each.one
    return (
        f"{one.kind} {one.namespace}/{one.name}"
        if one.namespace
        else f"{one.kind} {one.name}" + (f" of {each.through}" if each.through else "")
    )


@functools.lru_cache(maxsize=1024)
def _word(name: bytes) -> re.Pattern[bytes]:
    """The name as a whole: `api` is not in `apiVersion`, nor in `api-gateway`."""
    return re.compile(rb"(?<![-\w.])" + re.escape(name) + rb"(?![-\w.])")


@functools.lru_cache(maxsize=1024)
def _parts(name: str) -> tuple[bytes, ...]:
    """The name, and what is left of it when a kustomization or a release has put something before or after it."""
    words = name.split("-")[:12]
    whole = {"-".join(words[begin:end]) for begin in range(len(words)) for end in range(begin + 1, len(words) + 1)}
    return tuple(part.encode() for part in sorted({name, *whole} - {""}))


@functools.lru_cache(maxsize=4096)
def _connects(content: bytes) -> bool:
    return _CONNECTS.search(content) is not None


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Shell patterns where `**` crosses folders and `*` does not. In linear time: patterns come from users."""
    reached = {0}
    for piece in pattern:
        if piece == "**":
            reached = set(range(min(reached), len(parts) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatch.fnmatchcase(parts[at], piece)}
    return len(parts) in reached
