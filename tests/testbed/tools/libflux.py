"""The part of InfluxDB's query language that is written in Rust, made from the Go module that carries its source.

Its own way is a `pkg-config` of its makers, which builds it inside Go's cache and optimised for size, over minutes. Here cargo builds it
in a folder beside the programs, hardly optimised, and that folder goes when the program is there: an interrupted build goes on.
"""

import re
import shutil
import subprocess
from pathlib import Path

from tests.testbed.tools.find import cache_folder
from tests.testbed.tools.pins import Pin

RUST = (1, 78)
"""The oldest cargo that is known to read its lock file and to compile it."""


def obstacle() -> str:
    """Why this machine cannot build it, in a few words, or an empty string."""
    for tool in ("cc", "cargo"):
        if shutil.which(tool) is None:
            return f"it is built with C and Rust, and there is no `{tool}` on PATH"
    said = subprocess.run(["cargo", "--version"], text=True, capture_output=True, check=False).stdout
    found = re.search(r"(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < RUST:
        return f"it needs cargo {RUST[0]}.{RUST[1]} or newer, not {said.strip() or 'one that does not answer'}"
    return ""


def folder(pin: Pin) -> Path:
    """Where it is built."""
    return cache_folder() / f".libflux-{pin.name}-{pin.version}"


def unpack(pin: Pin, module: Path) -> Path:
    """Copy what cargo needs out of the module, which is read-only, and give the folder to build in."""
    target = folder(pin)
    wanted = [path for path in (module / "libflux").rglob("*") if path.is_file()]
    for path in sorted([*wanted, *(module / "stdlib").rglob("*.flux")]):
        place = target / path.relative_to(module)
        if not place.exists() or place.read_bytes() != path.read_bytes():  # cargo begins anew with whatever is younger
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    return target / "libflux"


def cargo(source: Path) -> tuple[list[str], dict[str, str]]:
    """The command that builds it in `source`, and its environment besides the usual one."""
    profile = {"LTO": "off", "OPT_LEVEL": "1", "DEBUG": "0"}
    env = {f"CARGO_PROFILE_RELEASE_{name}": value for name, value in profile.items()}
    command = ["cargo", "build", "--release", "--locked", "-p", "flux", "--lib"]
    plain = ["--no-default-features", "--features", "cffi"]  # the default one takes each warning of a newer compiler for an error
    return [*command, *plain], {**env, "CARGO_TARGET_DIR": str(source / "target")}


def linked(source: Path) -> dict[str, str]:
    """What Go must know to link it. The archive by its path: beside it is a shared library that the linker would prefer."""
    library = source / "target" / "release" / "libflux.a"
    return {
        "CGO_ENABLED": "1",
        "PKG_CONFIG": "true",  # asked where it is, answers nothing: the next two lines say it
        "CGO_CFLAGS": f"-O1 -I{source / 'include'}",
        "CGO_LDFLAGS": f"{library} -ldl -lm -lpthread",
    }
