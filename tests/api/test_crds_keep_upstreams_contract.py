"""crds/ against upstream's CRDs, node by node, and against the models."""

import subprocess
import sys

import pytest
import yaml

from canary.api import crd as generator
from tests.api.upstream import CONDENSED, REPOSITORY, SOURCE, condense, condensed_source, our_crds, root_schema, upstream_crds
from tests.testbed.thirdparty import third_party_crds

pytestmark = pytest.mark.slow

SHARED = ("canaries.flagger.app", "metrictemplates.flagger.app", "alertproviders.flagger.app")
OURS, UPSTREAM = our_crds(), upstream_crds()

# Where we differ from upstream on purpose: path -> (keyword, why).
DIFFERENCES = {
    ("spec", "required"): "analysis may be spelled canaryAnalysis, so an anyOf asks for either",
    ("spec", "anyOf"): "the same",
    ("spec", "x-kubernetes-validations"): "a fresh baseline needs a target of which a copy can be made",
    ("spec.analysis", "x-kubernetes-validations"): "what contradicts a fresh baseline",
    ("spec.service.mirror", "required"): "upstream wrote it beside `items`, where it constrains nothing",
}
# Formats that the API server does not know: they constrain nothing, and installing them prints a warning.
UNKNOWN_FORMATS = ("string", "url")

EXTENSIONS = {
    "spec.canaryAnalysis",
    "spec.analysis.onFailure",
    "spec.analysis.metrics[].noData",
    "spec.analysis.metrics[].onError",
    "spec.analysis.metrics[].dryRun",
    "spec.analysis.metrics[].role",
    "spec.analysis.metrics[].minSamples",
    "spec.analysis.baseline",
    "spec.analysis.judge",
    "spec.analysis.sequential",
    "spec.analysis.webhooks[].secretRef",
    "spec.analysis.webhooks[].successCodes",
    "status.observedGeneration",
    "status.lastPromotedConfigs",
    "status.lastTrackedRevision",
    "status.lastHandledReconcileAt",
    "status.lastCommand",
    "status.pinnedImages",
    "status.run",
    "status.checks",
    "status.failureReason",
}


def nodes(schema, path=""):
    """(path, node) of a schema and everything below it."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from nodes(schema["items"], path + "[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], path + "{}")


def normal(keyword, value):
    """Keywords whose order means nothing, as sets."""
    return sorted(value) if keyword in ("enum", "required", "categories") else value


def keywords(node):
    skip = ("properties", "items", "additionalProperties")
    found = {key: normal(key, value) for key, value in condense(node).items() if key not in skip}
    if found.get("format") in UNKNOWN_FORMATS:
        del found["format"]
    return found


OURS_ALONE = ("metrictemplates.flagger.app", "spec", "x-kubernetes-validations")
"""Rules about `total` and `bad`, which upstream does not have."""


@pytest.mark.parametrize("name", SHARED)
def test_every_node_of_upstreams_schema_is_ours_with_the_same_rules(name):
    ours = dict(nodes(root_schema(OURS[name])))
    differing = {}
    for path, node in nodes(root_schema(UPSTREAM[name])):
        assert path in ours, f"{path} is missing"
        theirs, mine = keywords(node), keywords(ours[path])
        for keyword in theirs.keys() | mine.keys():
            if theirs.get(keyword) != mine.get(keyword) and (path, keyword) not in DIFFERENCES and (name, path, keyword) != OURS_ALONE:
                differing[path, keyword] = (theirs.get(keyword), mine.get(keyword))
    assert not differing


def test_the_table_of_differences_holds_nothing_that_is_equal():
    theirs, ours = (dict(nodes(root_schema(crds["canaries.flagger.app"]))) for crds in (UPSTREAM, OURS))
    for path, keyword in DIFFERENCES:
        assert keywords(theirs[path]).get(keyword) != keywords(ours[path]).get(keyword), (path, keyword)


def test_upstreams_size_is_what_the_reference_counts():
    properties = [path for path, _ in nodes(root_schema(UPSTREAM["canaries.flagger.app"])) if path and not path.endswith(("[]", "{}"))]
    assert sum(path.startswith("spec.") for path in properties) == 242
    assert sum(path.startswith("status.") for path in properties) == 18


def test_what_is_ours_beyond_upstream_is_listed():
    theirs = {path for path, _ in nodes(root_schema(UPSTREAM["canaries.flagger.app"]))}
    extra = {path for path, _ in nodes(root_schema(OURS["canaries.flagger.app"])) if path not in theirs}
    tops = {
        path for path in extra if not any(path.startswith((f"{other}.", f"{other}[", f"{other}{{")) for other in extra if other != path)
    }
    assert tops == EXTENSIONS
    more = {"metrictemplates.flagger.app": {"spec.total", "spec.bad"}, "alertproviders.flagger.app": set()}
    for name in SHARED[1:]:
        theirs = {path for path, _ in nodes(root_schema(UPSTREAM[name]))}
        assert {path for path, _ in nodes(root_schema(OURS[name]))} - theirs == more[name]


@pytest.mark.parametrize("name", SHARED)
def test_names_scope_and_policy_are_upstreams(name):
    ours, theirs = OURS[name], UPSTREAM[name]
    assert ours["metadata"] == theirs["metadata"]
    mine = dict(ours["spec"]["names"])
    assert mine.pop("shortNames", []) == (["cny"] if name.startswith("canaries") else [])
    assert mine == theirs["spec"]["names"]
    assert ours["spec"]["scope"] == theirs["spec"]["scope"]
    stored = [version for version in ours["spec"]["versions"] if version["storage"]]
    assert [version["name"] for version in stored] == ["v1beta1"]
    assert stored[0]["subresources"] == {"status": {}}


@pytest.mark.parametrize("name", SHARED)
def test_printer_columns_begin_with_upstreams(name):
    theirs = UPSTREAM[name]["spec"]["versions"][0]["additionalPrinterColumns"]
    ours = OURS[name]["spec"]["versions"][0]["additionalPrinterColumns"]
    assert ours[: len(theirs)] == theirs
    assert all(column["priority"] == 1 for column in ours[len(theirs) :]), "scripts cut the default columns by position"


def test_v1alpha3_is_served_with_the_same_schema_and_reads_its_own_spelling():
    beta, alpha = OURS["canaries.flagger.app"]["spec"]["versions"]
    assert (alpha["name"], alpha["served"], alpha["storage"]) == ("v1alpha3", True, False)
    assert alpha["schema"] == beta["schema"]
    assert "conversion" not in OURS["canaries.flagger.app"]["spec"]
    renamed = yaml.safe_dump(beta["additionalPrinterColumns"]).replace(".spec.analysis.", ".spec.canaryAnalysis.")
    assert alpha["additionalPrinterColumns"] == yaml.safe_load(renamed)


def test_canary_analysis_is_analysis_and_its_schedule_rule_holds_only_where_it_is_used():
    spec = root_schema(OURS["canaries.flagger.app"])["properties"]["spec"]
    current, older = spec["properties"]["analysis"], spec["properties"]["canaryAnalysis"]
    assert {**older, "oneOf": current["oneOf"]} == current
    assert spec["anyOf"] == [
        {"required": ["analysis"]},
        {"required": ["canaryAnalysis"], "properties": {"canaryAnalysis": {"oneOf": current["oneOf"]}}},
    ]


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_property_is_described(name):
    for version in OURS[name]["spec"]["versions"]:
        for path, node in nodes(version["schema"]["openAPIV3Schema"]):
            if path and path != "metadata" and not path.endswith(("[]", "{}")):
                text = node.get("description", "")
                assert text.endswith((".", ")")), f"{name} {path}: {text!r}"


@pytest.mark.parametrize("name", sorted(OURS))
def test_no_category_hides_a_kind(name):
    """kubectl expands categories before it looks for kinds: a category `canary` would break `kubectl get canary podinfo`."""
    names = {word for other in OURS.values() for key in ("kind", "plural", "singular") for word in [other["spec"]["names"][key].lower()]}
    names |= {word for other in OURS.values() for word in other["spec"]["names"].get("shortNames", [])}
    assert not names & set(OURS[name]["spec"]["names"]["categories"])


def test_the_committed_files_are_what_the_models_say():
    assert generator.stale(REPOSITORY / "crds") == []
    assert {path.name for path in (REPOSITORY / "crds").glob("*.yaml")} == set(generator.files())


def test_check_names_stale_files_and_writing_mends_them(tmp_path, capsys):
    assert generator.main([str(tmp_path)]) == 0
    assert generator.main(["--check", str(tmp_path)]) == 0
    (tmp_path / "flagger.app_canaries.yaml").write_text("old", encoding="utf-8")
    assert generator.main(["--check", str(tmp_path)]) == 1
    assert "flagger.app_canaries.yaml" in capsys.readouterr().err
    assert generator.main([str(tmp_path)]) == 0
    assert generator.main(["--check", str(tmp_path)]) == 0


def test_an_unknown_option_is_a_usage_error(capsys):
    assert generator.main(["--chek"]) == 2
    assert "unknown option --chek" in capsys.readouterr().err


def test_the_command_runs_as_a_module(tmp_path):
    subprocess.run([sys.executable, "-m", "canary.api.crd", str(tmp_path)], check=True, cwd=REPOSITORY, timeout=60)
    assert {path.stem for path in tmp_path.glob("*.yaml")} == {f"{kind.group}_{kind.plural}" for kind in generator.KINDS}


def test_the_condensed_upstream_is_what_upstreams_file_says():
    third_party_crds(SOURCE.stem)
    assert CONDENSED.read_text(encoding="utf-8") == condensed_source()
