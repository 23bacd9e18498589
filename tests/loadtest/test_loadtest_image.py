"""The load tester stands alone, and its image holds what it imports and nothing else, from the project's lock."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from loadtest.lock_subset import PACKAGES, main, subset

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "loadtest" / "Dockerfile").read_text()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(name: str, found: set[str]) -> None:
    """Collect the names of a distribution and of all that it requires on the Pythons that we run on, extras left out."""
    if name in found:
        return
    found.add(name)
    for text in importlib.metadata.requires(name) or []:
        needed = Requirement(text)
        environments = ({"python_version": version, "python_full_version": f"{version}.0", "extra": ""} for version in ("3.11", "3.13"))
        if needed.marker is None or any(needed.marker.evaluate(environment) for environment in environments):
            requirements(normal(needed.name), found)


def test_the_image_holds_what_the_load_tester_requires() -> None:
    found: set[str] = set()
    for name in ("aiohttp", "prometheus-client"):
        requirements(name, found)
    assert found == set(PACKAGES)


def test_the_subset_keeps_versions_and_hashes_of_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    part = subset(lock)
    assert set(part.splitlines()) <= set(lock.splitlines())
    assert sorted(re.findall(r"^([\w.-]+)==", part, re.MULTILINE)) == sorted(PACKAGES)
    for entry in re.split(r"\n(?=\S)", part.strip()):
        assert "--hash=sha256:" in entry
        assert entry.rstrip()[-1] != "\\"


def test_a_lock_without_a_package_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "requirements.lock"
    file.write_text("aiohttp==1 \\\n    --hash=sha256:00\n")
    assert main([str(file)]) == 1
    assert capsys.readouterr().err.startswith("lock_subset: the lock pins no aiohappyeyeballs, aiosignal")
    assert main([str(tmp_path / "absent")]) == 1
    assert main([]) == 1


def test_the_load_tester_imports_neither_the_operator_nor_its_libraries() -> None:
    script = """
import sys
from pathlib import Path
import loadtest
for file in Path(loadtest.__file__).parent.glob("*.py"):
    if file.stem != "__main__":
        __import__(f"loadtest.{file.stem}")
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert "aiohttp" in found
    assert not {"canary", "kopf", "kubernetes", "numpy", "pydantic", "httpx", "click", "yaml"} & set(found)
    distributions = importlib.metadata.packages_distributions()
    foreign = {normal(owner) for name in found for owner in distributions.get(name, [])}
    # Modules that the environment itself loads, and libraries that aiohttp takes when they happen to be there.
    foreign -= {"canary-operator", "setuptools", "brotli", "aiodns", "cffi", "pycares"}
    assert foreign <= set(PACKAGES)


def test_the_image_runs_without_rights_and_names_no_registry() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["65532:65532"]
    assert DOCKERFILE.index("USER 65532") > DOCKERFILE.rindex("\nRUN ")
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert images == ["${PYTHON_IMAGE}"] * 2
    (default,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert "/" not in default
    assert "://" not in DOCKERFILE
    assert "--require-hashes" in DOCKERFILE


def test_everything_that_the_image_copies_is_there() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert list(ROOT.glob(source)), source
