"""Which images a first primary begins with, where Git knows better than the template (`GitSink.spec.onBootstrap`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pin:
    """With which images the first primary is to be made: those promoted last, as Git says; none where that is what the template has.

    `revision` is that of the target's template with these images. `error` says why it is not known.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    revision: str = ""
    error: str = ""
