"""Where is a program of the test bed, and is it the pinned one?

A cached program counts as present when its stamp file says the pin. A program without a stamp (built by hand, or by a run that
died between two renames) is adopted when the build information that Go writes into every binary names the pinned module and
version. Rejected: asking `--version` (Contour has none worth reading, kubeconform calls itself "development").
"""

import hashlib
import importlib.metadata
import importlib.util
import mmap
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.testbed.tools.pins import PINS, Pin, Source

BUILD_COMMAND = "python -m tests.testbed.tools"


class ToolMissingError(Exception):
    """A program is absent or stale; the message is one line that says which and how to mend it."""


def cache_folder() -> Path:
    """The folder of the built programs: CANARY_TESTBED_CACHE, or ~/.cache/canary-testbed/bin."""
    named = os.environ.get("CANARY_TESTBED_CACHE")
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "canary-testbed" / "bin"


def find(name: str) -> Path:
    """The path of a program, ready to run. Raises ToolMissingError."""
    pin = PINS[name]
    path = _given(pin) or _wheel(pin) or _environment(pin) or _cached(pin) or _on_path(pin)
    if path is None:
        raise ToolMissingError(f"{name} ({pin.stamp}) is not in {cache_folder()}: run `{BUILD_COMMAND} {name}`")
    return path


def missing(names: Iterable[str]) -> str:
    """One line that names every program of `names` that cannot be found, or an empty string."""
    absent = []
    for name in names:
        try:
            find(name)
        except ToolMissingError:
            absent.append(name)
    return f"test bed programs missing: {', '.join(absent)}; run `{BUILD_COMMAND} {' '.join(absent)}`" if absent else ""


def crds(name: str) -> Path:
    """The folder of the CRDs that a program needs. Raises ToolMissingError."""
    find(name)
    return crds_folder(PINS[name])


def crds_folder(pin: Pin) -> Path:
    """Where the CRDs of a program are kept, by its version: they are no older than it."""
    return cache_folder() / ".crds" / f"{pin.name}-{pin.version}"


def environment(pin: Pin) -> Path:
    """Where the environment of a program in Python is kept: a changed lock is another folder, so it needs no stamp."""
    return cache_folder() / ".environments" / f"{pin.name}-{hashlib.sha256(pin.lock.read_bytes()).hexdigest()[:12]}"


def stamp_file(pin: Pin) -> Path:
    """Where the stamp of a cached program is kept."""
    return cache_folder() / ".stamps" / pin.name


def _executable(path: Path) -> Path | None:
    return path if path.is_file() and os.access(path, os.X_OK) else None


def _given(pin: Pin) -> Path | None:
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    return _executable(Path(folder).absolute() / pin.name) if pin.assets and folder else None


def _wheel(pin: Pin) -> Path | None:
    if pin.source is not Source.WHEEL or (spec := importlib.util.find_spec("envoy")) is None or spec.origin is None:
        return None
    try:
        right = importlib.metadata.version(pin.package) == pin.version
    except importlib.metadata.PackageNotFoundError:
        return None
    return _executable(Path(spec.origin).parent / "_bin" / pin.name) if right else None


def _environment(pin: Pin) -> Path | None:
    return _executable(environment(pin) / "bin" / "python") if pin.source is Source.PYTHON else None


def _cached(pin: Pin) -> Path | None:
    path = _executable(cache_folder() / pin.name)
    if path is None or pin.source in {Source.WHEEL, Source.PYTHON} or (pin.crds and not crds_folder(pin).is_dir()):
        return None
    stamp = stamp_file(pin)
    if stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == pin.stamp:
        return path
    if pin.source is Source.DEBIAN or built_from(path, pin):
        write_stamp(pin)
        return path
    return None


def _on_path(pin: Pin) -> Path | None:
    if pin.source is not Source.DEBIAN:
        return None
    found = shutil.which(pin.name)
    return Path(found) if found else None


def built_from(path: Path, pin: Pin) -> bool:
    """Whether the Go build information inside the program names the pinned module as its main module."""
    line = f"mod\t{pin.module}\t{pin.version}\t".encode()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(line) >= 0


def write_stamp(pin: Pin) -> None:
    """Write down which pin the cached program was built from; a cache that cannot be written stays unstamped."""
    stamp = stamp_file(pin)
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        fresh = stamp.with_name(f"{stamp.name}.{os.getpid()}")
        fresh.write_text(pin.stamp + "\n", encoding="utf-8")
        fresh.replace(stamp)
    except OSError:
        return
