"""When tests get a network namespace, and what happens when the programs are missing."""

from pathlib import Path

import pytest

from tests.testbed import plugin

pytestmark = pytest.mark.slow
pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]
OWN_NETWORK = """
import os, pytest
{mark}
def test_network():
    assert (os.readlink("/proc/self/ns/net") != "{before}") is {expected}
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    """A test suite with our conftest, in which no program of the test bed is installed and CI is not set."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CANARY_TESTBED_CACHE", str(pytester.mkdir("no-tools")))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers =\n    cluster: x\n    mesh: x\n    slow: x\n")
    return pytester


@pytest.mark.parametrize(
    ("expression", "admitted"),
    [
        ("", True),
        ("cluster", True),
        ("mesh and not slow", True),
        ("slow", True),
        ("not slow", True),
        ("slow or mesh", True),
        ("not cluster", True),  # a mesh test is admitted
        ("not (cluster or mesh)", False),
        ("not cluster and not mesh", False),
        ("not cluster and not mesh and slow", False),
        ("this is no expression (", True),
    ],
)
def test_a_mark_expression_admits_cluster_tests_or_not(expression, admitted):
    assert plugin.admits(expression) is admitted


class TestMissingPrograms:
    @pytest.mark.parametrize(("mark", "program"), [("cluster", "kube-apiserver"), ("mesh", "contour")])
    def test_skip_at_home_with_the_command_that_mends_it(self, suite, mark, program):
        suite.makepyfile(f"import pytest\n@pytest.mark.{mark}\ndef test_it(): pass")
        result = suite.runpytest_subprocess("-rs")
        result.assert_outcomes(skipped=1)
        result.stdout.fnmatch_lines([f"*SKIPPED*test bed programs missing: *{program}*run `python -m tests.testbed.tools *"])

    def test_fail_in_ci(self, suite, monkeypatch):
        monkeypatch.setenv("CI", "true")
        suite.makepyfile("import pytest\n@pytest.mark.cluster\ndef test_it(): pass\ndef test_plain(): pass")
        result = suite.runpytest_subprocess()
        result.assert_outcomes(errors=1, passed=1)
        result.stdout.fnmatch_lines(["*CI must run this test: test bed programs missing: *"])

    def test_plain_tests_do_not_care(self, suite):
        suite.makepyfile("def test_it(): pass")
        suite.runpytest_subprocess().assert_outcomes(passed=1)

    def test_the_fixture_demands_its_marker(self, suite):
        suite.makepyfile("def test_it(mesh): pass")
        result = suite.runpytest_subprocess()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*uses the fixture `mesh`: mark it with @pytest.mark.mesh"])


class TestNamespace:
    def network(self) -> str:
        return str(Path("/proc/self/ns/net").readlink())

    def test_a_run_without_cluster_tests_stays_where_it_is(self, suite):
        suite.makepyfile(OWN_NETWORK.format(mark="", before=self.network(), expected=False))
        suite.runpytest_subprocess().assert_outcomes(passed=1)

    def test_a_run_with_cluster_tests_gets_its_own(self, suite):
        mark = "@pytest.mark.cluster\ndef test_cluster(): pass\n"
        suite.makepyfile(OWN_NETWORK.format(mark=mark, before=self.network(), expected=True))
        suite.runpytest_subprocess().assert_outcomes(passed=1, skipped=1)

    def test_deselected_cluster_tests_do_not_count(self, suite):
        mark = "@pytest.mark.cluster\ndef test_cluster(): pass\n"
        suite.makepyfile(OWN_NETWORK.format(mark=mark, before=self.network(), expected=False))
        suite.runpytest_subprocess("-m", "not cluster and not mesh").assert_outcomes(passed=1, deselected=1)

    def test_a_marker_inside_a_string_does_not_count(self, suite):
        mark = 'TEXT = """\n@pytest.mark.cluster\ndef test_it(): pass\n"""'
        suite.makepyfile(OWN_NETWORK.format(mark=mark, before=self.network(), expected=False))
        suite.runpytest_subprocess().assert_outcomes(passed=1)

    def test_only_the_files_on_the_command_line_count(self, suite):
        suite.makepyfile(
            test_plain=OWN_NETWORK.format(mark="", before=self.network(), expected=False),
            test_other="import pytest\n@pytest.mark.mesh\ndef test_mesh(): pass",
        )
        suite.runpytest_subprocess("test_plain.py::test_network").assert_outcomes(passed=1)

    def test_each_worker_has_its_own(self, suite):
        seen = suite.mkdir("seen")
        suite.makepyfile(f"""
            import os, pathlib, pytest, time
            @pytest.mark.cluster
            def test_cluster(): pass
            @pytest.mark.parametrize("number", range(8))
            def test_it(number):
                time.sleep(0.1)
                pathlib.Path("{seen}", os.environ["PYTEST_XDIST_WORKER"]).write_text(os.readlink("/proc/self/ns/net"))
        """)
        suite.runpytest_subprocess("-n", "2").assert_outcomes(passed=8, skipped=1)
        namespaces = [path.read_text() for path in seen.iterdir()]
        assert len(namespaces) == 2
        assert len({*namespaces, self.network()}) == 3


def test_patient_files_come_first_with_quick_ones_in_between_and_some_after_all_of_them(monkeypatch):
    monkeypatch.setattr(plugin, "LEFT", 0.25)
    patient = [Path(f"patient_{seconds}") for seconds in (60, 600, 50, 90)]
    quick = [Path(f"quick_{number:02}") for number in range(40)]
    longest = {path: float(path.name.rpartition("_")[2]) if path in patient else 0.0 for path in (*quick, *patient)}
    most, second, third, last = (patient[number] for number in (1, 3, 0, 2))
    assert [*plugin._mixed(longest)] == [most, *quick[:22], second, *quick[22:25], third, *quick[25:28], last, *quick[28:]]


def test_quick_files_alone_keep_their_order():
    quick = [Path(f"quick_{number}") for number in range(3)]
    assert [*plugin._mixed(dict.fromkeys(quick, 0.0))] == quick
