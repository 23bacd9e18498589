"""U26, U33 and take-over (7.1): what is changed on the way from the target's pod template to the primary's, and undone again."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.targets.config_refs import mandatory, references
from canary.targets.objects import included
from canary.targets.pod_template import FLAGGER_ID, Naming, covers, same_version, to_primary, to_target
from tests.targets.podinfo import DEPLOYMENT, deployment

NAMING = Naming("podinfo", "app", "podinfo", ("app", "name", "app.kubernetes.io/name"))
TEMPLATE = DEPLOYMENT["spec"]["template"]


def primary(template: dict[str, Any], *, naming: Naming = NAMING, configs: tuple[str, ...] = ()) -> dict[str, Any]:
    return to_primary(template, naming, configs=configs, flagger_id="id")


def selector(found: dict[str, Any], *path: str | int) -> Any:
    for part in path:
        found = found[part]
    return found


def test_labels_get_the_primary_value_and_lose_what_is_of_flux():
    assert primary(TEMPLATE)["metadata"]["labels"] == {"app": "podinfo-primary", "tier": "web"}


def test_annotations_get_a_new_id():
    assert primary(TEMPLATE)["metadata"]["annotations"] == {"prometheus.io/scrape": "true", FLAGGER_ID: "id"}


def test_the_label_value_need_not_be_the_name_of_the_workload():
    naming = Naming("podinfo", "app", "frontend", ("app",))
    template = {"metadata": {"labels": {"app": "frontend"}}, "spec": {}}
    assert primary(template, naming=naming)["metadata"]["labels"] == {"app": "frontend-primary"}


def test_anti_affinity_and_spread_follow_the_primary_and_affinity_does_not():
    spec = primary(TEMPLATE)["spec"]
    anti = spec["affinity"]["podAntiAffinity"]
    preferred = anti["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
    assert preferred["labelSelector"]["matchLabels"] == {"app": "podinfo-primary"}
    required = anti["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]
    assert required["matchExpressions"][0]["values"] == ["other", "podinfo-primary"]
    # `team` is no selector label: it stays, whatever its value
    assert spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == {"app": "podinfo-primary", "team": "podinfo"}
    assert spec["affinity"]["podAffinity"] == TEMPLATE["spec"]["affinity"]["podAffinity"]


def test_only_the_first_equal_value_of_an_expression_is_changed():
    expression = {"key": "name", "operator": "In", "values": ["podinfo", "podinfo"]}
    template = {"spec": {"topologySpreadConstraints": [{"labelSelector": {"matchExpressions": [expression]}}]}}
    constraint = primary(template)["spec"]["topologySpreadConstraints"][0]
    assert constraint["labelSelector"]["matchExpressions"][0]["values"] == ["podinfo-primary", "podinfo"]


def test_tracked_configs_are_renamed_everywhere_and_others_nowhere():
    tracked = {key for key in mandatory(TEMPLATE) if key not in {"secret/registry-env", "configmap/absent"}}
    renamed = {reference.key for reference in references(primary(TEMPLATE, configs=tuple(tracked)))}
    assert renamed == {f"{key}-primary" for key in tracked} | {"secret/registry-env", "configmap/absent"}


def test_what_we_do_not_know_stays():
    spec = primary(TEMPLATE)["spec"]
    assert spec["aFieldOfTomorrow"] == {"kept": True}
    assert [env.get("value") for env in spec["containers"][0]["env"]] == [None, "1", "2"]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]


def test_the_template_itself_is_not_changed():
    before = copy.deepcopy(TEMPLATE)
    to_target(primary(TEMPLATE, configs=tuple(mandatory(TEMPLATE))), NAMING, configs=tuple(mandatory(TEMPLATE)))
    assert before == TEMPLATE


@pytest.mark.parametrize(
    ("prefixes", "kept"),
    [
        ((), set()),
        (("",), set()),
        (("app.kubernetes.io",), {"app.kubernetes.io/part-of"}),
        (("app.kubernetes.io", "tier"), {"app.kubernetes.io/part-of", "tier"}),
        (("*",), {"app.kubernetes.io/part-of", "tier", "app"}),
        (("kustomize.toolkit.fluxcd.io",), set()),
    ],
)
def test_keys_are_included_by_prefix(prefixes: tuple[str, ...], kept: set[str]):
    keys = {"app": "a", "tier": "b", "app.kubernetes.io/part-of": "c", "kustomize.toolkit.fluxcd.io/name": "d"}
    assert set(included(keys, prefixes)) == kept


# -------------------------------------------------------------------------------------------------- and back


def foreign(template: dict[str, Any], *, tracked: tuple[str, ...]) -> dict[str, Any]:
    """A primary as upstream writes it: of the template's metadata nothing but labels and annotations."""
    made = primary(template, configs=tracked)
    made["metadata"] = {"creationTimestamp": None, **{key: made["metadata"][key] for key in ("labels", "annotations")}}
    return made


def test_a_primary_of_flagger_is_recognised_whatever_it_tracked():
    tracked = tuple(mandatory(TEMPLATE))
    assert same_version(TEMPLATE, foreign(TEMPLATE, tracked=tracked), NAMING)
    assert same_version(TEMPLATE, foreign(TEMPLATE, tracked=tracked[:3]), NAMING)
    assert same_version(TEMPLATE, foreign(TEMPLATE, tracked=()), NAMING)


def test_a_template_that_names_its_primary_equals_its_copy_too():
    template = copy.deepcopy(TEMPLATE)
    term = template["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    term["labelSelector"]["matchExpressions"][0]["values"] = ["podinfo-primary"]
    assert same_version(template, foreign(template, tracked=()), NAMING)


@pytest.mark.parametrize(
    "patch",
    [
        {"metadata": {"annotations": {"restartedAt": "now"}}},
        {"metadata": {"labels": {"tier": "db"}}},
        {"spec": {"aFieldOfTomorrow": {"kept": False}}},
        {"spec": {"volumes": [{"name": "plain", "configMap": {"name": "other-files"}}]}},
        {"spec": {"containers": [{"name": "podinfod", "image": "podinfo:6.0.1"}]}},
    ],
)
def test_a_primary_of_another_version_is_not_mistaken(patch: dict[str, Any]):
    changed = deployment({"spec": {"template": patch}})["spec"]["template"]
    assert not same_version(changed, foreign(TEMPLATE, tracked=tuple(mandatory(TEMPLATE))), NAMING)


NAMES = st.sampled_from(["podinfo", "frontend", "x", "web-1"])
KEYS = st.sampled_from(["app", "name", "tier", "app.kubernetes.io/name", "example.com/team"])
LABELS = st.dictionaries(KEYS, NAMES, min_size=1, max_size=3)
SELECTORS = st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": LABELS,
        "matchExpressions": st.lists(
            st.fixed_dictionaries({"key": KEYS, "operator": st.just("In"), "values": st.lists(NAMES, min_size=1, max_size=3)}), max_size=2
        ),
    },
)
TERMS = st.fixed_dictionaries({"topologyKey": st.just("zone")}, optional={"labelSelector": SELECTORS})
OPTIONAL = {"optional": st.booleans()}
SOURCE = st.fixed_dictionaries({"name": NAMES}, optional=OPTIONAL)
VOLUMES = st.one_of(
    st.fixed_dictionaries({"configMap": SOURCE}),
    st.fixed_dictionaries({"secret": st.fixed_dictionaries({"secretName": NAMES}, optional=OPTIONAL)}),
    st.fixed_dictionaries(
        {
            "projected": st.fixed_dictionaries(
                {
                    "sources": st.lists(
                        st.one_of(
                            st.fixed_dictionaries({"configMap": SOURCE}),
                            st.fixed_dictionaries({"secret": SOURCE}),
                            st.just({"downwardAPI": {}}),
                        ),
                        max_size=3,
                    )
                }
            )
        }
    ),
    st.just({"emptyDir": {}}),
)
CONTAINERS = st.fixed_dictionaries(
    {"name": NAMES, "image": st.sampled_from(["a:1", "b:2"])},
    optional={
        "env": st.lists(
            st.one_of(
                st.fixed_dictionaries({"name": NAMES, "value": NAMES}),
                st.fixed_dictionaries({"name": NAMES, "valueFrom": st.fixed_dictionaries({"configMapKeyRef": SOURCE})}),
                st.fixed_dictionaries({"name": NAMES, "valueFrom": st.fixed_dictionaries({"secretKeyRef": SOURCE})}),
            ),
            max_size=3,
        ),
        "envFrom": st.lists(
            st.one_of(st.fixed_dictionaries({"configMapRef": SOURCE}), st.fixed_dictionaries({"secretRef": SOURCE})), max_size=2
        ),
    },
)
TEMPLATES = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({"labels": LABELS}, optional={"annotations": LABELS}),
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(CONTAINERS, max_size=2)},
            optional={
                "initContainers": st.lists(CONTAINERS, max_size=1),
                "volumes": st.lists(VOLUMES, max_size=3),
                "topologySpreadConstraints": st.lists(TERMS, max_size=2),
                "affinity": st.fixed_dictionaries(
                    {},
                    optional={
                        "podAntiAffinity": st.fixed_dictionaries(
                            {},
                            optional={
                                "preferredDuringSchedulingIgnoredDuringExecution": st.lists(
                                    st.fixed_dictionaries({"weight": st.just(1), "podAffinityTerm": TERMS}), max_size=2
                                ),
                                "requiredDuringSchedulingIgnoredDuringExecution": st.lists(TERMS, max_size=2),
                            },
                        )
                    },
                ),
            },
        ),
    }
)


@given(template=TEMPLATES, data=st.data())
def test_undoing_gives_back_the_template(template: dict[str, Any], data: st.DataObject):
    naming = Naming("podinfo", "app", template["metadata"]["labels"].get("app", "podinfo"), NAMING.selector_labels)
    template["metadata"]["labels"]["app"] = naming.value
    keys = sorted(mandatory(template))
    tracked = data.draw(st.sets(st.sampled_from(keys))) if keys else set()
    made = to_primary(template, naming, configs=tracked, flagger_id="id")
    assert made != template
    assert to_target(made, naming, configs=tracked) == template
    assert same_version(template, made, naming)


@given(template=TEMPLATES)
def test_every_mention_is_renamed_and_counted_once(template: dict[str, Any]):
    keys = mandatory(template)
    made = to_primary(template, NAMING, configs=keys.keys(), flagger_id="id")
    assert mandatory(made) == {f"{key}-primary": required for key, required in keys.items()}


# --------------------------------------------------------------------------------------- what webhooks may add


@pytest.mark.parametrize(
    ("live", "wanted", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        ([{"n": 1, "x": 0}, {"n": 3}, {"n": 2}], [{"n": 1}, {"n": 2}], True),
        ([{"n": 2}, {"n": 1}], [{"n": 1}, {"n": 2}], False),
        ([{"n": 1}], [{"n": 1}, {"n": 1}], False),
        ("text", ["t"], False),
        ({"a": None}, {"a": {}}, False),
    ],
)
def test_a_live_value_covers_what_was_written(live: Any, wanted: Any, expected: bool):
    assert covers(live, wanted) is expected
