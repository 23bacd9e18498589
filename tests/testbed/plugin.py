"""What pytest needs to give tests a cluster: the network namespace, the fixtures, and the rule about missing programs.

The namespace must exist before any thread does, so whether it is wanted is decided in `pytest_configure`, from the mark expression and
the text of the selected files, long before they are imported. A run without cluster tests stays where it is and needs no program, no
root and no namespace.

It also keeps the garbage collector from what is there to stay: thousands of tests and modules, which it would walk again and again.
"""

import ast
import gc
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.testbed import netns, tools
from tests.testbed.absence import absent
from tests.testbed.cluster import Cluster
from tests.testbed.mesh import Mesh, crds_folder

__all__ = [
    "cluster",
    "mesh",
    "namespace",
    "pytest_collection",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
]

MARKS = ("cluster", "mesh")
LEFT = 0.6
"""Part of the quick files that comes after all patient ones."""
_NAMES = iter(range(1, 1_000_000))


def pytest_configure(config: pytest.Config) -> None:
    """Enter the namespace when tests may run that need it; why it failed is said by those tests.

    Hypothesis does not take the time: on a busy machine any example may need 200 ms, and a test that hangs is ended anyway.
    """
    settings.register_profile("patient", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
    settings.load_profile("patient")
    config.stash[_NETWORK] = config.stash[_RUNNING] = None
    if not config.getoption("collectonly", default=False) and wanted(config):
        try:
            netns.enter()
        except netns.NetnsError as error:
            config.stash[_NETWORK] = str(error)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All that is collected lives as long as the process: the garbage collector leaves it out."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files whose tests may take longest come first: a worker that meets one at the end keeps all waiting.

    They wait more than they compute, so the others come in between, rather than all after them: the processors have something to do from the
    first minute on. Some are left for the end, where small pieces even out what the workers have to do.
    """
    longest: dict[Path, float] = {}
    for item in items:
        longest[item.path] = max(longest.get(item.path, 0.0), _patience(item))
    config.stash[_CLUSTERED] = frozenset(item.path for item in items if _marks(item))
    places = {path: place for place, path in enumerate(_mixed(longest))}
    items.sort(key=lambda item: places[item.path])


def _mixed(longest: Mapping[Path, float]) -> Iterator[Path]:
    """The files in the order in which they are tested, from the seconds that one of their tests may take."""
    patient = sorted((path for path, seconds in longest.items() if seconds), key=lambda path: -longest[path])
    quick = [path for path, seconds in longest.items() if not seconds]
    total, due, given = sum(longest.values()), 0.0, 0
    for path in patient:
        yield path
        due += longest[path] / total * (1 - LEFT) * len(quick)
        yield from quick[given : int(due)]
        given = int(due)
    yield from quick[given:]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs or namespace are missing; fail it where CI is true, for there a skip would be a hole."""
    if running := item.config.stash[_RUNNING]:
        if item.path in item.config.stash[_CLUSTERED]:
            running.resume()
        else:
            running.pause()
    marks = _marks(item)
    fixtures = [name for name in MARKS if name in getattr(item, "fixturenames", ())]
    if fixtures and not marks:
        pytest.fail(f"this test uses the fixture `{fixtures[-1]}`: mark it with @pytest.mark.{fixtures[-1]}", pytrace=False)
    if marks and (reason := _obstacle(item.config, mesh="mesh" in marks)):
        absent(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Put the ends of the daemons' logs into the report of a failed test."""
    report = yield
    if report.failed and call.when != "teardown":
        for name in MARKS:
            part = getattr(item, "funcargs", {}).get(name)
            if isinstance(part, Cluster | Mesh):
                report.sections.append((f"{name}: logs in {part.folder}", part.log_tails()))
    return report


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """One control plane for the whole run (of one worker). It rests while files are tested that have no test for it."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        pytestconfig.stash[_RUNNING] = started
        yield started
        pytestconfig.stash[_RUNNING] = None


@pytest.fixture(scope="module")
def mesh(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Contour, Envoy, the pod server and Prometheus on the cluster, fresh for each test module."""
    with Mesh(cluster, tmp_path_factory.mktemp("mesh")) as started:
        yield started


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace, deleted (in the background) after the test."""
    name = cluster.create_namespace(f"test-{next(_NAMES)}")
    yield name
    cluster.delete_namespace(name)


def wanted(config: pytest.Config) -> bool:
    """Whether the mark expression admits cluster tests and a selected file has any."""
    return admits(config.getoption("markexpr", default="") or "") and any(map(_mentions, selected_files(config)))


def admits(expression: str) -> bool:
    """Whether `-m EXPRESSION` can select a test marked cluster or mesh; other names may be true or false."""
    if not expression:
        return True
    try:
        code = compile(expression.strip(), "-m", "eval")
        return any(_value(code, {*marks, *extra}) for marks in (["cluster"], ["mesh"], MARKS) for extra in ([], _names(code)))
    except Exception:  # not Python's syntax: then pytest judges it, and a namespace too many does no harm
        return True


def selected_files(config: pytest.Config) -> Iterator[Path]:
    """The Python files under the paths given to pytest."""
    for argument in config.args:
        path = config.invocation_params.dir / argument.partition("::")[0]
        yield from path.rglob("*.py") if path.is_dir() else [path]


def _names(code: CodeType) -> list[str]:
    return [name for name in code.co_names if name not in MARKS]


def _value(code: CodeType, true: set[str]) -> bool:
    return bool(eval(code, {"__builtins__": {}}, {name: name in true for name in code.co_names}))


def _mentions(path: Path) -> bool:
    """Whether the file says `….mark.cluster` or `….mark.mesh` as code; a string that holds such a line does not count."""
    if not path.name.startswith(("test_", "conftest")):
        return False
    try:
        text = path.read_text(encoding="utf-8")
        if not any(f"mark.{mark}" in text for mark in MARKS):
            return False
        attributes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)]
    except (OSError, ValueError, SyntaxError):
        return False
    return any(node.attr in MARKS and isinstance(node.value, ast.Attribute) and node.value.attr == "mark" for node in attributes)


def _obstacle(config: pytest.Config, *, mesh: bool) -> str:
    if refused := config.stash[_NETWORK]:
        return refused
    if lacking := tools.missing(tools.MESH if mesh else tools.CLUSTER):
        return lacking
    if mesh and not (crds_folder() / "contour.yaml").is_file():
        return f"no contour.yaml in {crds_folder()}: set CANARY_MESH_CRDS to the folder of third-party CRDs"
    if not netns.inside():
        return "the network namespace was not entered: name the tests' files or folders on pytest's command line"
    return ""


def _marks(item: pytest.Item) -> list[str]:
    """Which parts of the test bed it needs."""
    return [mark for mark in MARKS if item.get_closest_marker(mark)]


def _patience(item: pytest.Item) -> float:
    """Seconds that a test may take, by its marks; 0: it is quick."""
    if not _marks(item) and not item.get_closest_marker("slow"):
        return 0.0
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0] if mark and mark.args else item.config.getini("timeout") or 0)


_NETWORK: pytest.StashKey[str | None] = pytest.StashKey()
_RUNNING: pytest.StashKey[Cluster | None] = pytest.StashKey()
_CLUSTERED: pytest.StashKey[frozenset[Path]] = pytest.StashKey()
