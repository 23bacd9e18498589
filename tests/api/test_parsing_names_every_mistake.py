"""Parsing: good manifests mean what upstream makes of them; bad ones are told completely, in the author's spelling."""

import copy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from canary.api.alertprovider import parse_alert_provider
from canary.api.canary import parse_canary
from canary.api.errors import InvalidObject, path_text
from canary.api.metrictemplate import parse_metric_template
from tests.api.manifests import HAND_PICKED, edited, plain
from tests.api.upstream import REPOSITORY


def problems(obj):
    with pytest.raises(InvalidObject) as caught:
        parse_canary(obj)
    return caught.value.problems


def example(name):
    return yaml.safe_load((REPOSITORY / "examples" / name).read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------------ good


def test_the_manifest_of_2020_means_what_it_meant():
    canary = parse_canary(example("podinfo-2020.yaml"))
    spec, analysis = canary.spec, canary.spec.analysis
    assert (canary.metadata.name, canary.metadata.namespace) == ("podinfo", "prod")
    assert canary.metadata.annotations == {"fluxcd.io/ignore": "false"}
    assert (spec.target_ref.kind, spec.target_ref.name, spec.service.port) == ("Deployment", "podinfo", 9898)
    assert (analysis.interval_seconds, analysis.threshold_count, analysis.step_weight, analysis.max_weight_effective) == (10, 5, 5, 100)
    rate, duration = analysis.metrics
    assert (rate.bounds.min, rate.bounds.max, rate.interval_effective) == (99, None, "1m")
    assert (duration.bounds.min, duration.bounds.max) == (None, 500)
    (hook,) = analysis.webhooks
    assert (hook.url, hook.timeout_seconds, hook.type_effective) == ("http://load-tester.prod/", 5, "rollout")
    assert hook.metadata == {"cmd": "hey -z 2m -q 10 -c 2 http://podinfo:9898/"}


def test_the_manifest_of_2020_and_its_modern_spelling_are_the_same_release():
    old = example("podinfo-2020.yaml")
    new = copy.deepcopy(old)
    new["apiVersion"] = "flagger.app/v1beta1"
    new["spec"]["analysis"] = new["spec"].pop("canaryAnalysis")
    assert parse_canary(old).spec.analysis == parse_canary(new).spec.analysis


def test_the_manifest_of_2020_survives_the_wire_in_the_modern_spelling():
    old = example("podinfo-2020.yaml")
    written = parse_canary(old).spec.to_dict()
    written["canaryAnalysis"] = written.pop("analysis")
    assert written == old["spec"]


@pytest.mark.parametrize("api", ["apps/v1", "extensions/v1beta1"])
def test_the_api_version_of_the_target_does_not_matter(api):
    assert parse_canary(edited(targetRef__apiVersion=api)).spec.target_ref.is_knative is False


def test_analysis_wins_over_its_older_name():
    canary = parse_canary(edited(canaryAnalysis={"interval": "5s", "threshold": 1, "stepWeight": 1}))
    assert canary.spec.analysis.step_weight == 10
    assert canary.spec.analysis_path == "spec.analysis"


@pytest.mark.parametrize("name", ["plain", "session affinity", "locality", "outliers", "tls", "cors origins", "mirror", "gateways"])
def test_a_spec_survives_the_wire(name):
    assert parse_canary(HAND_PICKED[name]).spec.to_dict() == HAND_PICKED[name]["spec"]


def test_unknown_fields_are_dropped_as_the_server_drops_them():
    assert parse_canary(edited(strategy="x", analysis__jury="y")).spec == parse_canary(plain()).spec


def test_null_is_absent_as_for_the_server():
    nulls = edited(provider=None, service__hosts=None, analysis__iterations=None, analysis__webhooks=None)
    assert parse_canary(nulls).spec == parse_canary(plain()).spec
    assert parse_canary(nulls).spec.analysis.given_schedules == ("stepWeight",)


def test_whole_numbers_may_be_written_with_a_point():
    assert parse_canary(edited(service__port=9898.0, analysis__threshold=5.0)).spec == parse_canary(plain()).spec


def test_items_of_lists_need_no_kind():
    obj = {key: value for key, value in plain().items() if key not in ("apiVersion", "kind")}
    assert parse_canary(obj).spec == parse_canary(plain()).spec


# ------------------------------------------------------------------------------------------------------- bad

MISTAKES = {
    "fraction": (edited(analysis__stepWeight=2.5), "spec.analysis.stepWeight", "must be a whole number, not 2.5", "write 2 or 3"),
    "fraction in a list": (
        edited(analysis__stepWeight=..., analysis__stepWeights=[1, 2.5]),
        "spec.analysis.stepWeights[1]", "must be a whole number, not 2.5", "write 2 or 3",
    ),
    "number in quotes": (edited(service__port="9898"), "spec.service.port", "not the text '9898'", "without quotes"),
    "word for a number": (edited(analysis__threshold="five"), "spec.analysis.threshold", "must be a whole number, not the text 'five'", ""),
    "boolean for a number": (edited(analysis__threshold=True), "spec.analysis.threshold", "not true (a boolean)", ""),
    "no port": (edited(service__port=...), "spec.service.port", "is required", "port: 9898"),
    "no target": (edited(targetRef=...), "spec.targetRef", "is required", "name the workload"),
    "no analysis": (edited(analysis=...), "spec.analysis", "is required", "stepWeight, stepWeights or iterations"),
    "no spec": ({key: value for key, value in plain().items() if key != "spec"}, "spec", "is required", "targetRef"),
    "target in lower case": (edited(targetRef=..., targetref={}), "spec.targetRef", "is required", "did you mean targetRef where it says targetref?"),
    "interval as number": (edited(analysis__interval=10), "spec.analysis.interval", "must be text, not the number 10", 'in quotes: "10"'),
    "metadata as number": (
        edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "metadata": {"a.b/c": 5}}]),
        'spec.analysis.webhooks[0].metadata["a.b/c"]', "must be text, not the number 5", 'in quotes: "5"',
    ),
    "metadata as boolean": (
        edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "metadata": {"logCmdOutput": True}}]),
        "spec.analysis.webhooks[0].metadata.logCmdOutput", "must be text, not true (a boolean)", 'in quotes: "true"',
    ),
    "key as number": (
        edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "metadata": {5: "x"}}]),
        "spec.analysis.webhooks[0].metadata", "key must be text, not the number 5", "in quotes",
    ),
    "boolean in quotes": (edited(skipAnalysis="true"), "spec.skipAnalysis", "must be true or false, not the text 'true'", "without quotes"),
    "boolean as number": (edited(suspend=1), "spec.suspend", "must be true or false, not the number 1", "write true or false"),
    "object as list": (edited(service=[]), "spec.service", "must be an object, not a list", ""),
    "list as object": (edited(analysis__metrics={"name": "x"}), "spec.analysis.metrics", "must be a list, not an object", "dash"),
    "bound in quotes": (
        edited(analysis__metrics=[{"name": "x", "thresholdRange": {"min": "99"}}]),
        "spec.analysis.metrics[0].thresholdRange.min", "must be a number, not the text '99'", "without quotes",
    ),
    "unknown hook type": (
        edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "type": "confirm-promotions"}]),
        "spec.analysis.webhooks[0].type", "must be one of confirm-rollout, pre-rollout, rollout", "did you mean confirm-promotion?",
    ),
    "unknown severity": (
        edited(analysis__alerts=[{"name": "x", "severity": "warning", "providerRef": {"name": "y"}}]),
        "spec.analysis.alerts[0].severity", "must be one of info, warn, error", "did you mean warn?",
    ),
    "unknown answer to no data": (
        edited(analysis__metrics=[{"name": "x", "noData": "ignore"}]), "spec.analysis.metrics[0].noData", "must be one of fail, hold, pass", "",
    ),
    "metric without name": (edited(analysis__metrics=[{"interval": "1m"}]), "spec.analysis.metrics[0].name", "is required", "add name"),
    "targetPort as list": (edited(service__targetPort=[80]), "spec.service.targetPort", "must be a port number or a port name, not a list", ""),
    "wrong kind": ({**plain(), "kind": "Rollout"}, "kind", "must be Canary, not the text 'Rollout'", ""),
    "wrong version": ({**plain(), "apiVersion": "flagger.app/v2"}, "apiVersion", "must be flagger.app/v1beta1", ""),
    "bad status": ({**plain(), "status": {"phase": "finished"}}, "status.phase", "must be one of Initializing", ""),
    "bad time": ({**plain(), "status": {"lastTransitionTime": "yesterday"}}, "status.lastTransitionTime", "must be a time", "2020-01-31T12:00:00Z"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_one_mistake_gives_one_problem_with_path_cause_and_hint(name):
    obj, path, message, hint = MISTAKES[name]
    found = problems(obj)
    assert [problem.path for problem in found] == [path]
    assert message in found[0].message
    assert hint in found[0].hint if hint else found[0].hint == ""


def test_all_mistakes_are_told_at_once():
    obj = edited(service__port="x", targetRef__name=..., analysis__threshold=1.5, analysis__metrics=[{}])
    assert [problem.path for problem in problems(obj)] == [
        "spec.targetRef.name",
        "spec.service.port",
        "spec.analysis.threshold",
        "spec.analysis.metrics[0].name",
    ]


def test_mistakes_under_the_older_name_are_told_under_it():
    obj = edited(analysis=..., canaryAnalysis={"interval": "10s", "threshold": 5, "stepWeight": 2.5, "metrics": [{}]})
    assert [problem.path for problem in problems(obj)] == ["spec.canaryAnalysis.stepWeight", "spec.canaryAnalysis.metrics[0].name"]


def test_the_error_reads_as_one_line_that_names_the_object():
    with pytest.raises(InvalidObject) as caught:
        parse_canary(edited(analysis__stepWeight=2.5))
    assert str(caught.value) == "Canary default/podinfo: spec.analysis.stepWeight: must be a whole number, not 2.5 (write 2 or 3)"
    assert (caught.value.kind, caught.value.namespace, caught.value.name) == ("Canary", "default", "podinfo")


@pytest.mark.parametrize("document", [None, [], "text", 5])
def test_a_document_that_is_no_object_is_told_so(document):
    with pytest.raises(InvalidObject, match="must be an object"):
        parse_canary(document)


@pytest.mark.parametrize("metadata", [None, [], "x", {"name": 5}, {}])
def test_broken_metadata_is_a_problem_not_a_crash(metadata):
    assert problems({**plain(), "metadata": metadata})[0].path.startswith("metadata")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(["name", "port", "exact", "interval", "x"]), children, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = ["targetRef", "service", "analysis", "canaryAnalysis", "provider", "autoscalerRef", "suspend", "progressDeadlineSeconds"]


@given(spec=st.dictionaries(st.sampled_from(FIELDS), JSON), status=JSON)
def test_no_input_makes_the_parser_crash(spec, status):
    try:
        parse_canary({**plain(), "spec": {**plain()["spec"], **spec}, "status": status})
    except InvalidObject as error:
        found = error.problems
    else:
        return
    assert found
    assert all(problem.path and problem.message for problem in found)


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (("spec", "analysis", "metrics", 0, "interval"), "spec.analysis.metrics[0].interval"),
        (("metadata", "annotations", "a.b/c"), 'metadata.annotations["a.b/c"]'),
        (("spec", "headers", "x-canary", "exact"), "spec.headers.x-canary.exact"),
        (("a", 0, 1), "a[0][1]"),
    ],
)
def test_paths_are_written_as_people_write_them(location, text):
    assert path_text(location) == text


# -------------------------------------------------------------------------------------- the two smaller kinds


def test_a_metric_template_is_read():
    template = parse_metric_template(
        {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "MetricTemplate",
            "metadata": {"name": "errors", "namespace": "prod"},
            "spec": {
                "provider": {"type": "prometheus", "address": "http://p", "headers": {"X": ["a", "b"]}, "secretRef": {"name": "s"}},
                "query": "up",
            },
        }
    )
    assert (template.spec.provider.type, template.spec.provider.headers) == ("prometheus", {"X": ("a", "b")})
    assert template.spec.provider.secret_ref.name == "s"
    assert template.spec.provider.insecure_skip_verify is False


def test_a_metric_template_without_query_is_told_so():
    with pytest.raises(InvalidObject, match=r"MetricTemplate errors: spec\.query: is required"):
        parse_metric_template({"metadata": {"name": "errors"}, "spec": {"provider": {"type": "prometheus"}}})


def test_an_alert_provider_is_read():
    spec = parse_alert_provider({"metadata": {"name": "chat"}, "spec": {"type": "slack", "secretRef": {"name": "s"}}}).spec
    assert (spec.type, spec.secret_ref.name, spec.address, spec.channel, spec.username) == ("slack", "s", "", "", "")
