"""Which of the images that values name are those of which container: by what they say, because values know no containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from canary.gitops.helm_values import VALUES
from canary.gitops.images import Image, Sourced, parse
from canary.gitops.markers import policy_of

Wanted = Mapping[str, tuple[str, str]]
"""(failed, before) by container."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Images by container. `partial`: some containers are not among them. `vague`: a tag alone, deep in the values, may be another image's."""

    images: Mapping[str, tuple[Sourced, ...]]
    partial: bool = False
    vague: bool = False


def bound(found: Mapping[str, Sourced], wanted: Wanted, *, sure: bool = False) -> Iterator[Bound]:
    """The images that count; several times where nothing tells them apart. `sure`: they are known to be of this workload."""
    chosen = {name: _chosen(found, name, parse(failed), parse(before), sure=sure) for name, (failed, before) in wanted.items()}
    present = {name: tuple(found[key] for key in keys) for name, keys in chosen.items() if keys}
    if not present:
        return
    partial = len(present) < len(chosen)
    vague = any(not tells(key, found[key]) for keys in chosen.values() for key in keys)
    unclear = [name for name, ones in present.items() if len(ones) > 1 and not all(one.image.name for one in ones)]
    if not unclear:
        yield Bound(present, partial, vague)
    clear = {name: ones for name, ones in present.items() if name not in unclear}
    for name in unclear:
        for one in present[name]:
            yield Bound({**clear, name: (one,)}, partial, vague)


def tells(key: str, one: Sourced) -> bool:
    """Whether values say which image they mean: by its name, by being the chart's first image, or by a bot's marker."""
    place = key.removeprefix(VALUES)
    return bool(one.image.name) or place in {"image", "image*"} or any(policy_of(part.place) for part in one.parts)


def _chosen(found: Mapping[str, Sourced], name: str, failed: Image, before: Image, *, sure: bool) -> list[str]:
    """Keys of the images of one container; the first question that any of them answers decides."""
    differing = [what for what in ("name", "tag", "digest") if getattr(failed, what) != getattr(before, what)]
    telling = {key: one for key, one in found.items() if one.aliased or any(getattr(one.image, what) for what in differing)}
    questions = (
        [key for key in telling if key == name],
        [key for key, one in telling.items() if one.is_(failed)],
        [key for key, one in telling.items() if one.is_(before)],
        [key for key, one in telling.items() if one.image.name and one.names(failed)],
        [key for key, one in telling.items() if one.aliased],
        [key for key, one in telling.items() if sure and not one.image.name and tells(key, one)],
    )
    keys = next((keys for keys in questions if keys), [])
    return [key for key in keys if found[key].image.name] or keys
