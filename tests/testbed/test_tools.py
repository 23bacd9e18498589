"""Finding and building the programs of the test bed, with a stand-in for Go."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed.tools import CLUSTER, FLUX, MESH, PINS, ToolMissingError, build, crds, find, missing
from tests.testbed.tools.__main__ import main
from tests.testbed.tools.find import environment, stamp_file
from tests.testbed.tools.pins import HERE, Source

pytestmark = pytest.mark.slow

KUBECONFORM = "github.com/yannh/kubeconform"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CANARY_TESTBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def compiler(tmp_path, monkeypatch) -> Path:
    """A `go` on PATH that writes its arguments, and the name of a pinned version, into the program it is told to make."""
    folder = tmp_path / "go-bin"
    folder.mkdir()
    script(folder / "go", 'while [ "$1" != -o ]; do shift; done; printf \'#!/bin/sh\\n# built from %s\\n\' "$3" > "$2"; chmod +x "$2"')
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "go"


@pytest.fixture
def uv(tmp_path, monkeypatch) -> Path:
    """A `uv` beside the running Python that makes an environment of an empty interpreter, and writes down what it was told."""
    folder = tmp_path / "uv-bin"
    folder.mkdir()
    made = 'for last; do :; done; [ "$1" = venv ] && mkdir -p "$last/bin" && touch "$last/bin/python" && chmod +x "$last/bin/python"'
    script(folder / "uv", f'echo "$@" >> {folder}/told\n{made}\ntrue')
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    return folder / "uv"


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_every_version_comes_from_a_committed_go_mod_with_its_checksums():
    for pin in PINS.values():
        if pin.source is Source.GO:
            assert re.fullmatch(r"v\d+\.\d+\.\d+", pin.version), pin
            assert f"{pin.module} {pin.version} h1:" in (HERE / pin.folder / "go.sum").read_text()


def test_the_pins_are_the_measured_versions():
    versions = {name: PINS[name].version for name in (*MESH, *FLUX, "helm", "kubeconform")}
    assert versions == {name: "v1.36.3" for name in CLUSTER} | {
        "etcd": "v3.6.8", "kwok": "v0.8.0", "contour": "v1.33.8", "helm": "v3.22.0", "kubeconform": "v0.8.0",
        "envoy": "1.40.0", "prometheus": "any",
        "source-controller": "v1.8.5", "kustomize-controller": "v1.9.5", "helm-controller": "v1.6.0",
    }  # fmt: skip


def test_an_absent_program_is_built_once_and_then_found(cache, compiler, capsys):
    assert main(["kubeconform"]) == 0
    assert re.search(r"kubeconform .*v0\.8\.0 +built in \d+\.\d s", capsys.readouterr().out)
    assert f"built from {KUBECONFORM}/cmd/kubeconform" in (cache / "kubeconform").read_text()
    assert main(["kubeconform"]) == 0
    assert " present " in capsys.readouterr().out
    assert find("kubeconform") == cache / "kubeconform"


def test_a_program_of_another_pin_is_stale_and_built_anew(cache, compiler):
    assert main(["kubeconform"]) == 0
    stamp_file(PINS["kubeconform"]).write_text(f"{KUBECONFORM} v0.7.0\n")
    (cache / "kubeconform").write_text("old")
    with pytest.raises(ToolMissingError, match=r"run `python -m tests.testbed.tools kubeconform`"):
        find("kubeconform")
    assert main(["--check", "kubeconform"]) == 1
    assert main(["kubeconform"]) == 0
    assert "built from" in (cache / "kubeconform").read_text()


def test_a_program_without_stamp_is_adopted_when_its_build_information_names_the_pin(cache):
    script(cache / "kubeconform", f"# mod\t{KUBECONFORM}\tv0.8.0\th1:x=")
    assert find("kubeconform") == cache / "kubeconform"
    assert stamp_file(PINS["kubeconform"]).read_text() == f"{KUBECONFORM} v0.8.0\n"


def test_a_program_without_stamp_of_another_version_is_not(cache):
    script(cache / "kubeconform", f"# mod\t{KUBECONFORM}\tv0.8.1\th1:x=")
    with pytest.raises(ToolMissingError):
        find("kubeconform")


def test_the_crds_of_a_program_are_kept_beside_it_and_make_it_whole(cache, compiler, tmp_path):
    module = tmp_path / "module"
    (module / "config" / "crd" / "bases").mkdir(parents=True)
    (module / "config" / "crd" / "bases" / "things.yaml").write_text("kind: CustomResourceDefinition\n")
    script(compiler, f'[ "$1" = list ] && echo {module} && exit\n' + compiler.read_text().partition("\n")[2])
    assert main(["helm-controller"]) == 0
    assert [path.name for path in crds("helm-controller").iterdir()] == ["things.yaml"]
    (crds("helm-controller") / "things.yaml").unlink()
    crds("helm-controller").rmdir()
    with pytest.raises(ToolMissingError):
        find("helm-controller")
    assert main(["helm-controller"]) == 0
    assert crds("helm-controller").is_dir()


def test_a_failed_build_leaves_nothing_and_the_others_go_on(cache, compiler, capsys):
    script(compiler, compiler.read_text().partition("\n")[2] + 'case "$3" in *kubeconform*) echo "go: some trouble" >&2; exit 1;; esac')
    assert main(["kubeconform", "kwok"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "error: kubeconform: go: some trouble"
    assert said[1].startswith("kwok ")
    assert sorted(path.name for path in cache.iterdir() if not path.name.startswith(".")) == ["kwok"]
    assert not list(cache.glob("*.new"))


def test_without_go_one_line_says_so(cache, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["kubeconform"]) == 1
    assert capsys.readouterr().out == "error: kubeconform: it is built with Go, and there is no `go` on PATH; install go 1.26.0 or newer\n"


def test_without_network_one_line_says_so(cache, compiler, capsys):
    script(compiler, 'echo "go: downloading x"; echo "go: x: dial tcp: lookup proxy: no such host" >&2; exit 1')
    assert main(["kubeconform"]) == 1
    assert capsys.readouterr().out.startswith("error: kubeconform: cannot be downloaded, is the network there? (")


def test_without_debian_one_line_says_so(cache, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["prometheus"]) == 1
    assert "put a `prometheus` on PATH instead" in capsys.readouterr().out


def test_any_prometheus_on_path_will_do(cache, monkeypatch, tmp_path):
    script(tmp_path / "prometheus", "true")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find("prometheus") == tmp_path / "prometheus"


def test_kubebuilder_assets_provide_their_three_programs_and_no_other(cache, monkeypatch, tmp_path):
    assets = tmp_path / "assets"
    assets.mkdir()
    for name in ("etcd", "kube-apiserver", "kubectl", "kwok"):
        script(assets / name, "true")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    assert [find(name) for name in ("etcd", "kube-apiserver", "kubectl")] == [
        assets / name for name in ("etcd", "kube-apiserver", "kubectl")
    ]
    assert missing(CLUSTER) == (
        "test bed programs missing: kube-controller-manager, kube-scheduler, kwok; "
        "run `python -m tests.testbed.tools kube-controller-manager kube-scheduler kwok`"
    )


def test_a_program_in_python_is_an_environment_whose_every_package_has_its_checksums(cache, uv, capsys):
    pin = PINS["graphite-web"]
    requirements = [line for line in pin.lock.read_text().splitlines() if "==" in line]
    assert pin.stamp == "graphite-web 1.1.10"
    assert pin.lock.read_text().count(" \\\n    --hash=sha256:") >= len(requirements) == 11
    assert (main(["graphite-web"]), main(["graphite-web"])) == (0, 0)
    assert find("graphite-web") == environment(pin) / "bin" / "python"
    built, present = capsys.readouterr().out.splitlines()
    assert ("built in" in built, "present" in present) == (True, True)
    told = (uv.parent / "told").read_text()
    assert told.count("pip install") == 1
    assert f"--no-deps --require-hashes --build-constraint {pin.lock} -r {pin.lock}" in told


def test_a_failed_environment_leaves_nothing(cache, uv, capsys):
    script(uv, uv.read_text() + '[ "$1" = pip ] && echo "error: Failed to fetch: x" >&2 && exit 2\ntrue')
    assert main(["graphite-web"]) == 1
    assert capsys.readouterr().out.startswith("error: graphite-web: cannot be downloaded, is the network there? (error: Failed to fetch")
    assert list((cache / ".environments").iterdir()) == []


def test_where_no_python_is_old_enough_a_program_is_left_out_and_the_others_go_on(cache, uv, compiler, capsys):
    script(uv, '[ "$1" = python ] && exit 2; exit 0')
    assert main(["graphite-web", "kubeconform"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "left out: graphite-web: it needs Python <3.12, and there is none here; its tests cannot run"
    assert said[1].startswith("kubeconform ")
    assert main(["--check", "graphite-web"]) == 1


def test_without_uv_one_line_says_so(cache, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert main(["graphite-web"]) == 1
    assert capsys.readouterr().out == "error: graphite-web: there is no `uv` beside this Python nor on PATH; run `make setup`\n"


@pytest.fixture
def cargo(tmp_path, compiler) -> Path:
    """A `cargo` beside the compiler that makes the library, and a Go module that carries its source."""
    module = tmp_path / "module"
    for name in ("libflux/Cargo.toml", "libflux/include/flux.h", "stdlib/universe/universe.flux", "stdlib/universe/universe.go"):
        (module / name).parent.mkdir(parents=True, exist_ok=True)
        (module / name).write_text(name)
        (module / name).chmod(0o444)
    first = f'[ "$1" = list ] && echo {module} && exit\n[ "$1" = mod ] && exit\necho "$CGO_LDFLAGS $*" > {compiler}.told\n'
    script(compiler, first + compiler.read_text().partition("\n")[2])
    script(compiler.with_name("cc"), "true")
    made = 'mkdir -p "$CARGO_TARGET_DIR/release" && touch "$CARGO_TARGET_DIR/release/libflux.a"'
    script(compiler.with_name("cargo"), f'[ "$1" = --version ] && echo cargo 1.95.0 && exit\n{made}; cat include/flux.h; ls -R ../stdlib')
    return compiler.with_name("cargo")


def test_a_program_with_a_library_in_rust_is_linked_with_it_and_what_it_was_built_in_goes(cache, compiler, cargo):
    assert main(["influxd"]) == 0
    told = Path(f"{compiler}.told").read_text()
    assert re.match(r"\S+/libflux/target/release/libflux\.a -ldl -lm -lpthread build .* -tags fipsonly ", told)
    assert sorted(path.name for path in cache.iterdir()) == [".lock", ".stamps", "influxd"]


def test_an_interrupted_build_of_a_library_goes_on_where_it_was(cache, compiler, cargo, capsys):
    whole = compiler.read_text()
    script(compiler, whole.partition("\n")[2].replace('echo "$CGO', 'echo "go: some trouble" >&2; exit 1\necho "$CGO'))
    assert main(["influxd"]) == 1
    source = cache / f".libflux-influxd-{PINS['influxd'].version}"
    copied = {str(path.relative_to(source)): path.stat().st_mtime_ns for path in source.rglob("*") if path.is_file()}
    assert sorted(copied) == [
        "libflux/Cargo.toml",
        "libflux/include/flux.h",
        "libflux/target/release/libflux.a",
        "stdlib/universe/universe.flux",
    ]
    script(
        cargo, f'[ "$1" = --version ] && echo cargo 1.95.0 && exit\n[ $(stat -c %Y Cargo.toml) = {copied["libflux/Cargo.toml"] // 10**9} ]'
    )
    compiler.write_text(whole)
    assert main(["influxd"]) == 0


@pytest.mark.parametrize(
    ("says", "reason"), [("cargo 1.63.0", "it needs cargo 1.78 or newer, not cargo 1.63.0"), ("", "one that does not answer")]
)
def test_with_an_old_cargo_the_program_is_left_out(cache, cargo, capsys, says, reason):
    script(cargo, f"echo {says}")
    assert main(["influxd"]) == 0
    assert reason in capsys.readouterr().out


def test_without_cargo_the_program_is_left_out(cache, cargo, monkeypatch, capsys):
    cargo.unlink()
    monkeypatch.setenv("PATH", str(cargo.parent))
    assert main(["influxd"]) == 0
    said = capsys.readouterr().out
    assert said == "left out: influxd: it is built with C and Rust, and there is no `cargo` on PATH; its tests cannot run\n"


def test_an_unknown_name_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["kubectll"])
    assert ended.value.code == 2
    assert "unknown program kubectll; known: kube-apiserver, " in capsys.readouterr().err


def test_a_second_run_waits_for_the_first(cache, compiler, tmp_path):
    script(compiler, compiler.read_text().partition("\n")[2] + "sleep 1")
    command = [sys.executable, "-m", "tests.testbed.tools", "kubeconform"]
    root = Path(__file__).parents[2]
    runs = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(run.communicate(timeout=30)[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert said.count("another build holds") == 1
    assert said.count("built in") == 1
    assert said.count("present") == 1


def test_kubernetes_is_told_its_version():
    assert "gitVersion=v1.36.3 " in build._ldflags(PINS["kubectl"])
    assert "gitMinor=36 " in build._ldflags(PINS["kubectl"])
    assert build._ldflags(PINS["kwok"]) == "-s -w"
