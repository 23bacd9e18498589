"""What cannot work is said in one sentence with a hint, and ends with the exit code of the reference."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.sandbox.demo import ROOT, Demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def demo(tmp_path):
    started = []

    def start(*flags, **more):
        started.append(Demo(tmp_path / "demo", *flags, **more))
        return started[-1]

    yield start
    for it in started:
        it.close()


def failed(it, code, timeout=90):
    """Its errors, without a traceback."""
    ended, out, err = it.end(timeout)
    assert ended == code, err
    assert "Traceback" not in err + out
    assert it.files() == []
    assert it.gone()
    assert err.startswith("error: ")
    return err


@pytest.mark.parametrize("variable", ["ENVOY_BIN", "PROMETHEUS_BIN"])
def test_a_program_that_is_not_there(demo, variable):
    err = failed(demo("--json", env={variable: "/nowhere/program"}), 4)
    assert err.splitlines()[0] == f"error: {variable} is /nowhere/program, which is not a program"
    assert err.splitlines()[1].startswith("hint: ")


def test_a_program_that_does_not_run(demo, tmp_path):
    broken = tmp_path / "envoy"
    broken.write_text("not a program")
    broken.chmod(0o755)
    assert "does not run" in failed(demo("--json", env={"ENVOY_BIN": str(broken)}), 4)


def test_a_program_that_ends_at_once_shows_the_end_of_its_log(demo, tmp_path):
    broken = tmp_path / "envoy"
    broken.write_text(
        '#!/bin/sh\ncase "$1" in --version) echo "envoy version: x/1.2.3/y";; *) echo "no such flag, says envoy" >&2; exit 7;; esac\n'
    )
    broken.chmod(0o755)
    err = failed(demo("--json", env={"ENVOY_BIN": str(broken)}), 1)
    assert err.splitlines() == ["error: envoy ended with exit code 7", "  no such flag, says envoy"]


@pytest.mark.parametrize(
    ("program", "needle"),
    [("envoy", b"envoy.json"), ("prometheus", b"prometheus.yml"), ("operator", b"canary.cli.main\0run"), ("pod", b"app.py")],
)
@pytest.mark.slow
def test_a_program_that_dies_in_the_middle_ends_the_story(demo, program, needle):
    it = demo("--json")
    it.until(lambda happening: happening.get("weight") == 5)
    os.kill(pid_of(it, needle), signal.SIGKILL)
    err = failed(it, 1)
    assert re.match(rf"error: {program}\S*( \S+)? was killed by SIGKILL\n", err), err


def pid_of(it, needle):
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={it.folder}".encode() in (entry / "environ").read_bytes() and needle in (entry / "cmdline").read_bytes():
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError(it.processes())


@pytest.mark.slow
def test_a_story_that_takes_too_long(demo):
    err = failed(demo("--json", "--deadline=20"), 3)
    assert re.search("did not end after 20 s; phase (Initializing|Initialized|Progressing)", err), err  # how far a busy machine comes
    assert "hint: give it longer with --deadline" in err


@pytest.mark.slow
def test_a_manifest_that_the_api_refuses(demo, tmp_path):
    """The GitOps engine cannot apply it, now or ever: waiting for the deadline would hide why."""
    manifest = tmp_path / "canary.yaml"
    manifest.write_text((ROOT / "examples" / "podinfo.yaml").read_text().replace("spec:\n", "spec:\n  provider: nonsense\n", 1))
    err = failed(demo("--json", f"--manifest={manifest}"), 1)
    assert "canaries.flagger.app prod/podinfo" in err
    assert "spec.provider" in err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "the manifest is not YAML"),
        ("a: 1", "the manifest holds no objects of kind Canary"),
        ("apiVersion: flagger.app/v1beta1\nkind: Canary\nmetadata: {name: x}\nspec: {}", "is required"),
    ],
)
def test_a_manifest_that_is_not_the_storys(demo, tmp_path, text, problem):
    manifest = tmp_path / "canary.yaml"
    manifest.write_text(text)
    assert problem in failed(demo(f"--manifest={manifest}"), 1)


def test_an_interval_that_is_none(demo):
    assert "the interval 500ms is shorter than a second" in failed(demo("--interval=500ms"), 1)


def test_options_of_a_cluster_without_a_cluster(demo):
    assert failed(demo("--yes"), 2).splitlines() == ["error: --yes goes with --cluster", "hint: see `canary demo --help`"]
