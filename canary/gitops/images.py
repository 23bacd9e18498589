"""An image and where each part of it is written: one scalar, or name, tag and digest at three places in two files.

The places carry how they are written, so that another image can be put into them. What the places cannot say (a digest where the file has no line
for one) is refused: adding and removing lines changes more than a version.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from canary.gitops.documents import Place
from canary.gitops.splice import Unsafe

_VARIABLE = re.compile(r"\$\{(\w+)(?::[-=][^}]*)?\}")


@dataclass(frozen=True, slots=True)
class Image:
    """Parts of an image; an empty part is not said."""

    name: str = ""
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Image:
    """Parts of `name:tag@digest`; the colon of a registry's port is no tag, and a name may be missing (`:tag`)."""
    # the colon of a variable (`${TAG:=latest}`) is no tag either
    rest, _, digest = _VARIABLE.sub(lambda one: one[0].replace(":", "\0"), text).partition("@")
    head, colon, tag = rest.rpartition(":")
    parts = (head, tag, digest) if colon and "/" not in tag else (rest, "", digest)
    return Image(*(part.replace("\0", ":") for part in parts))


class Holds(enum.Enum):
    """What a place says."""

    IMAGE = "image"
    NAME = "name"
    REGISTRY = "registry"
    REPOSITORY = "repository"
    TAG = "tag"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class Part:
    """A place, what it says, and a text in front that stays (`name=` in Argo CD's lists)."""

    place: Place
    holds: Holds
    prefix: str = ""

    @property
    def image(self) -> Image:
        """The image of a place that holds a whole one."""
        return parse(self.place.value.removeprefix(self.prefix))


@dataclass(frozen=True, slots=True)
class Sourced:
    """An image with the places that say it. `complete`: nothing but these places has a say, so that an absent tag is no tag."""

    image: Image
    name_at: tuple[Part, ...] = ()
    tag_at: Part | None = None
    digest_at: Part | None = None
    complete: bool = True

    @property
    def parts(self) -> tuple[Part, ...]:
        """All places that count, each once."""
        return tuple(dict.fromkeys([*self.name_at, *(part for part in (self.tag_at, self.digest_at) if part)]))

    @property
    def aliased(self) -> bool:
        """Whether a part is shared through an anchor, so that its text is not known here."""
        return any(part.place.alias for part in self.parts)

    def is_(self, image: Image) -> bool:
        """Whether the places say this image, as far as they say anything."""
        if self.complete and image.name:
            return self.image == image
        same_tag = not self.image.tag or self.image.tag == image.tag
        same_digest = not self.image.digest or self.image.digest == image.digest
        # a chart that is given a digest may leave out the tag
        same = same_digest and (same_tag or (bool(self.image.digest) and not image.tag))
        return same and self.names(image) and bool(self.image.tag or self.image.digest or self.image.name)

    def names(self, image: Image) -> bool:
        """Whether the name is the image's, or the end of it (charts put a registry in front); true when no name is said."""
        mine, theirs = self.image.name, image.name
        return not mine or not theirs or mine == theirs or (not self.complete and theirs.endswith(f"/{mine}"))

    def restored(self, failed: Image, before: Image) -> dict[Place, str]:
        """New texts of the places that lead from `failed` to `before`. Raises Unsafe for what they cannot say."""
        first = self.parts[0]
        if self.complete and self.parts == (first,) and first in self.name_at and first.holds is Holds.IMAGE:
            return {first.place: first.prefix + str(before)}
        for what in ("name", "tag", "digest"):
            old, new = getattr(failed, what), getattr(before, what)
            if old != new and not (getattr(self.image, what) and new):
                verb = "removed" if old and not new else "added"
                raise Unsafe(f"would need the {what} of the image to be {verb}")
        lead = failed.name.removesuffix(self.image.name) if self.image.name else ""
        if failed.name != before.name and not before.name.startswith(lead):
            raise Unsafe(f"leaves the registry to something else, and {before.name} has another one")
        name = before.name.removeprefix(lead) if failed.name != before.name else self.image.name
        want = Image(name, before.tag, before.digest)
        differing = {what for what in ("name", "tag", "digest") if getattr(failed, what) != getattr(before, what)}
        texts = {part.place: self._text(part, want) for part in self.parts if differing & self._says(part)}
        return {place: text for place, text in texts.items() if text != place.value}

    def _says(self, part: Part) -> set[str]:
        """What this place decides about."""
        pairs = (("name", part in self.name_at), ("tag", part == self.tag_at), ("digest", part == self.digest_at))
        return {what for what, here in pairs if here}

    def _text(self, part: Part, want: Image) -> str:
        """What this place must say so that all of them together say `want`."""
        match part.holds:
            case Holds.IMAGE:
                own = part.image
                name = want.name if part in self.name_at else own.name
                tag = want.tag if part == self.tag_at else own.tag
                return part.prefix + str(Image(name, tag, want.digest if part == self.digest_at else own.digest))
            case Holds.TAG:
                return str(Image("", want.tag, want.digest if part == self.digest_at else "")).removeprefix(":")
            case Holds.DIGEST:
                return want.digest
            case Holds.NAME:
                return want.name
        registry = next((one.place.value for one in self.name_at if one.holds is Holds.REGISTRY), "")
        if not registry:
            return want.name
        if want.name.startswith(f"{registry}/"):
            pair = (registry, want.name.removeprefix(f"{registry}/"))
        else:
            head, _, tail = want.name.partition("/")
            pair = (head, tail)
        return pair[0] if part.holds is Holds.REGISTRY else pair[1]


def whole(place: Place) -> Sourced:
    """The image of one scalar."""
    part = Part(place, Holds.IMAGE)
    return Sourced(part.image, (part,), part, part)


def assembled(places: Mapping[Holds, Place]) -> Sourced | None:
    """An image of several scalars that something else puts together; None when nothing is said. A tag may bring its digest (`1@sha256:…`)."""
    said = {holds: Part(place, holds) for holds, place in places.items() if place.value}
    if Holds.IMAGE in said:
        one = said[Holds.IMAGE]
        return Sourced(one.image, (one,), one, one, complete=bool(one.image.tag or one.image.digest))
    names = tuple(said[holds] for holds in (Holds.NAME, Holds.REGISTRY, Holds.REPOSITORY) if holds in said)
    tag, digest = said.get(Holds.TAG), said.get(Holds.DIGEST)
    tag_text, _, with_tag = tag.place.value.partition("@") if tag else ("", "", "")
    if with_tag:
        digest = tag
    image = Image("/".join(part.place.value.strip("/") for part in names), tag_text, with_tag or (digest.place.value if digest else ""))
    return Sourced(image, names, tag, digest, complete=False) if image != Image() else None


@dataclass(frozen=True, slots=True)
class Override:
    """An entry of Kustomize's `images`: what is put in the place of the parts of an image of this name. Argo CD writes it as one `line`."""

    name: str
    new_name: Part | None = None
    new_tag: Part | None = None
    digest: Part | None = None

    def over(self, found: Sourced) -> Sourced:
        """The image after this entry; as Kustomize does it, a new tag without a digest drops the digest, and the other way round."""
        if found.image.name != self.name or found.aliased:
            return found
        if self.new_name:
            found = replace(found, image=replace(found.image, name=self._new_name), name_at=(self.new_name,))
        if self.new_tag or self.digest:
            image = Image(found.image.name, self._new_tag, self._new_digest)
            found = replace(found, image=image, tag_at=self.new_tag, digest_at=self.digest)
        return found

    @property
    def result(self) -> Sourced:
        """What it says of an image that says nothing but the name."""
        return self.over(Sourced(Image(self.name)))

    @property
    def _new_name(self) -> str:
        part = self.new_name
        return "" if part is None else (part.image.name if part.holds is Holds.IMAGE else part.place.value)

    @property
    def _new_tag(self) -> str:
        part = self.new_tag
        return "" if part is None else (part.image.tag if part.holds is Holds.IMAGE else part.place.value)

    @property
    def _new_digest(self) -> str:
        part = self.digest
        return "" if part is None else (part.image.digest if part.holds is Holds.IMAGE else part.place.value)


def variable(text: str) -> str:
    """The name of the variable that a text is, as Flux writes it (`${TAG}`, `${TAG:=latest}`); empty when it is more, or none."""
    found = _VARIABLE.fullmatch(text)
    return found[1] if found else ""


def substituted(one: Sourced, values: Mapping[str, Place]) -> Sourced:
    """The image after Flux has put values in the place of variables that are a whole image, name, tag or digest."""
    if one.aliased or "${" not in str(one.image):
        return one
    if len(one.parts) == 1 and one.parts[0].holds is Holds.IMAGE and (place := values.get(variable(one.parts[0].place.value))):
        return whole(place)
    image, name_at, tag_at, digest_at = one.image, one.name_at, one.tag_at, one.digest_at
    if place := values.get(variable(image.name)):
        image, name_at = replace(image, name=place.value), (Part(place, Holds.NAME),)
    if place := values.get(variable(image.tag)):
        image, tag_at = replace(image, tag=place.value), Part(place, Holds.TAG)
    if place := values.get(variable(image.digest)):
        image, digest_at = replace(image, digest=place.value), Part(place, Holds.DIGEST)
    return replace(one, image=image, name_at=name_at, tag_at=tag_at, digest_at=digest_at)


def line(place: Place) -> Override:
    """Argo CD's `[name=]image[:tag][@digest]`."""
    head, equals, _ = place.value.partition("=")
    part = Part(place, Holds.IMAGE, f"{head}=" if equals else "")
    image = part.image
    return Override(
        head if equals else image.name,
        part if equals else None,
        part if image.tag else None,
        part if image.digest else None,
    )


def files_of(images: Iterable[Sourced]) -> frozenset[str]:
    """The files that say these images."""
    return frozenset(part.place.file for one in images for part in one.parts)
