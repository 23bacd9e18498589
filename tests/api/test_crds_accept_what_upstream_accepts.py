"""Differential: the same manifests against upstream's CRD and ours, on a real API server and on the sandbox's schema engine.

What upstream accepts we accept, what it refuses we refuse, and of an accepted manifest both keep the same fields, except for the
deliberate extensions that `test_extensions_…` name. Objects are created with `dryRun=All`: nothing is stored.
"""

import copy
import functools
from typing import Any

import pytest
import yaml

from canary.api.canary import parse_canary
from canary.api.errors import InvalidObject
from canary.sandbox.schema import Schema
from tests.api.manifests import HAND_PICKED, Generator, edited, plain
from tests.api.upstream import REPOSITORY, our_crds, root_schema, upstream_crds
from tests.testbed.api import ApiError

NAME = "canaries.flagger.app"
UPSTREAM = root_schema(upstream_crds()[NAME])
ON_SERVER, OFFLINE = 350, 600

# What we accept and upstream refuses, and what upstream accepts (by pruning it) and we refuse.
ACCEPTED_BY_US_ALONE = {
    "older spelling": edited(analysis=..., canaryAnalysis={"interval": "10s", "threshold": 5, "stepWeight": 5}),
}
REFUSED_BY_US_ALONE = {
    "noData": edited(analysis__metrics=[{"name": "x", "noData": "maybe"}]),
    "onError": edited(analysis__metrics=[{"name": "x", "onError": "pass"}]),
    "dryRun": edited(analysis__metrics=[{"name": "x", "dryRun": "yes"}]),
    "role": edited(analysis__metrics=[{"name": "x", "role": "important"}]),
    "minSamples": edited(analysis__metrics=[{"name": "x", "minSamples": -1}]),
    "secretRef": edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "secretRef": {}}]),
    "successCodes": edited(analysis__webhooks=[{"name": "x", "url": "http://x/", "successCodes": [99]}]),
    "onFailure": edited(analysis__onFailure="shrug"),
    "both spellings, the older one of another type": edited(canaryAnalysis="10s"),
}
KEPT_BY_US_ALONE = {
    "extensions": edited(
        analysis__onFailure="hold",
        analysis__metrics=[
            {"name": "x", "query": "up", "noData": "hold", "onError": "hold", "dryRun": True, "minSamples": 3, "role": "critical"}
        ],
        analysis__webhooks=[{"name": "x", "url": "http://x/", "secretRef": {"name": "s"}, "successCodes": [200, 204]}],
    ),
    "both spellings": edited(canaryAnalysis={"interval": "10s", "iterations": 1, "stepWeight": 5}),
}


@functools.cache
def plain_manifests(count: int) -> tuple[tuple[str, dict[str, Any]], ...]:
    generated = ((f"generated {index}", obj) for index, obj in enumerate(Generator(UPSTREAM, seed=20).canaries(count)))
    return (*HAND_PICKED.items(), *generated)


class Offline:
    """The sandbox's schema engine in place of a server (no CEL)."""

    def __init__(self, crd: dict[str, Any]) -> None:
        self.schema = Schema(root_schema(crd))

    def create(self, obj: dict[str, Any]) -> dict[str, Any] | str:
        """The object as stored, or why it was refused."""
        stored = self.schema.default(self.schema.prune(copy.deepcopy(obj)))
        violations = self.schema.validate(stored)
        return "; ".join(f"{path}: {message}" for path, message in violations) if violations else stored


class Server:
    """A real API server that holds one set of CRDs."""

    def __init__(self, cluster: Any) -> None:
        self.api = cluster.api

    def create(self, obj: dict[str, Any]) -> dict[str, Any] | str:
        """The object as it would be stored, or why it was refused."""
        path = f"/apis/{obj['apiVersion']}/namespaces/{obj['metadata']['namespace']}/canaries?dryRun=All"
        try:
            return self.api.call("POST", path, obj)
        except ApiError as error:
            assert error.status in (400, 422), error  # noqa: PT017 - any other answer is no verdict
            return str(error)


def compare(theirs: Any, ours: Any, manifests: Any) -> tuple[int, int]:
    """Numbers of accepted and refused manifests; fails on the first difference."""
    accepted = refused = 0
    for name, obj in manifests:
        mine, upstream = ours[name], theirs[name]
        assert isinstance(mine, str) == isinstance(upstream, str), f"{name}\nupstream: {upstream}\nours: {mine}\n{yaml.safe_dump(obj)}"
        if isinstance(mine, str):
            refused += 1
            continue
        accepted += 1
        assert mine.get("spec") == upstream.get("spec"), name
        assert_nothing_that_we_read_was_pruned(obj, mine, name)
    return accepted, refused


def assert_nothing_that_we_read_was_pruned(sent: dict[str, Any], stored: dict[str, Any], name: str) -> None:
    """The sent and the stored manifest parse to the same spec, or are told the same problems."""

    def outcome(obj: dict[str, Any]) -> Any:
        try:
            return parse_canary(obj).spec
        except InvalidObject as error:
            return [problem.path for problem in error.problems]

    sent_outcome, stored_outcome = outcome(sent), outcome(stored)
    assert sent_outcome == stored_outcome, name
    if isinstance(stored_outcome, list):
        assert_only_known_gaps(stored, stored_outcome)


def assert_only_known_gaps(stored: dict[str, Any], paths: list[str]) -> None:
    """An admitted object fails to parse only for fractions in whole numbers and for a missing spec."""
    for path in paths:
        assert path == "spec" or isinstance(value_at(stored, path), float), f"{path} of {stored}"


def value_at(obj: Any, path: str) -> Any:
    for part in path.replace("[", ".[").split("."):
        obj = obj[int(part[1:-1])] if part.startswith("[") else obj[part]
    return obj


def assert_both_outcomes_are_well_covered(accepted: int, refused: int) -> None:
    assert min(accepted, refused) >= 100, (accepted, refused)


# --------------------------------------------------------------------------------------------------- offline


def test_offline_the_same_manifests_are_accepted_and_keep_the_same_fields():
    upstream, ours = Offline(upstream_crds()[NAME]), Offline(our_crds()[NAME])
    manifests = plain_manifests(OFFLINE)
    theirs, mine = ({name: side.create(obj) for name, obj in manifests} for side in (upstream, ours))
    assert_both_outcomes_are_well_covered(*compare(theirs, mine, manifests))


@pytest.mark.parametrize("name", ACCEPTED_BY_US_ALONE)
def test_extensions_that_upstream_refuses(name):
    obj = ACCEPTED_BY_US_ALONE[name]
    assert isinstance(Offline(upstream_crds()[NAME]).create(obj), str)
    assert Offline(our_crds()[NAME]).create(obj)["spec"] == obj["spec"]


@pytest.mark.parametrize("name", REFUSED_BY_US_ALONE)
def test_extensions_whose_bad_values_upstream_prunes(name):
    obj = REFUSED_BY_US_ALONE[name]
    assert not isinstance(Offline(upstream_crds()[NAME]).create(obj), str)
    assert isinstance(Offline(our_crds()[NAME]).create(obj), str)


@pytest.mark.parametrize("name", KEPT_BY_US_ALONE)
def test_extensions_that_upstream_prunes(name):
    obj = KEPT_BY_US_ALONE[name]
    assert Offline(upstream_crds()[NAME]).create(obj)["spec"] != obj["spec"]
    assert Offline(our_crds()[NAME]).create(obj)["spec"] == obj["spec"]


# --------------------------------------------------------------------------------------- a real API server


@pytest.mark.cluster
def test_on_a_server_the_same_manifests_are_accepted_and_keep_the_same_fields(cluster, tmp_path):
    manifests = plain_manifests(ON_SERVER)
    special = [*ACCEPTED_BY_US_ALONE.items(), *REFUSED_BY_US_ALONE.items(), *KEPT_BY_US_ALONE.items()]
    (tmp_path / "upstream.yaml").write_text(yaml.safe_dump_all(upstream_crds().values()), encoding="utf-8")
    try:
        theirs = answers_of(cluster, tmp_path / "upstream.yaml", (*manifests, *special))
    finally:
        ours = answers_of(cluster, REPOSITORY / "crds", (*manifests, *special))  # last: the tests after this one want ours
    assert_both_outcomes_are_well_covered(*compare(theirs, ours, manifests))
    for name in ACCEPTED_BY_US_ALONE:
        assert (isinstance(theirs[name], str), isinstance(ours[name], str)) == (True, False), name
    for name in REFUSED_BY_US_ALONE:
        assert (isinstance(theirs[name], str), isinstance(ours[name], str)) == (False, True), name
    for name, obj in KEPT_BY_US_ALONE.items():
        assert (theirs[name]["spec"] != obj["spec"], ours[name]["spec"] == obj["spec"]) == (True, True), name


@pytest.mark.cluster
def test_on_a_server_the_manifest_of_2020_and_todays_are_stored_whole(cluster, namespace):
    cluster.crds(REPOSITORY / "crds")
    wait_for_schema(cluster, ours=True)
    for file in ("podinfo-2020.yaml", "podinfo.yaml"):
        obj = yaml.safe_load((REPOSITORY / "examples" / file).read_text(encoding="utf-8"))
        obj["metadata"]["namespace"] = namespace
        cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(obj))
        stored = cluster.get("canary", "podinfo", namespace)
        assert stored["apiVersion"] == "flagger.app/v1beta1"
        assert stored["spec"] == obj["spec"]
        assert parse_canary(stored).spec == parse_canary(obj).spec
        cluster.kubectl("delete", "canary/podinfo", "--namespace", namespace)


@pytest.mark.cluster
def test_on_a_server_kubectl_finds_canaries_by_every_name(cluster, namespace):
    cluster.crds(REPOSITORY / "crds")
    wait_for_schema(cluster, ours=True)
    obj = plain()
    obj["metadata"]["namespace"] = namespace
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(obj))
    for word in ("canary", "canaries", "cny", "canaries.flagger.app", "canaries.v1alpha3.flagger.app"):
        assert "podinfo" in cluster.kubectl("get", word, "podinfo", "--namespace", namespace)
    columns = cluster.kubectl("get", "canary", "--namespace", namespace).splitlines()[0].split()
    assert columns == ["NAME", "STATUS", "WEIGHT", "LASTTRANSITIONTIME"]
    assert "podinfo" in cluster.kubectl("get", "all", "--namespace", namespace)
    assert "percent of the traffic" in cluster.kubectl("explain", "canary.spec.analysis.stepWeight").lower()


@pytest.mark.cluster
def test_on_a_server_our_status_is_stored_whole(cluster, namespace):
    cluster.crds(REPOSITORY / "crds")
    wait_for_schema(cluster, ours=True)
    obj = plain()
    obj["metadata"]["namespace"] = namespace
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(obj))
    from tests.api.test_statuses_are_small_and_whole import FULL

    path = f"/apis/flagger.app/v1beta1/namespaces/{namespace}/canaries/podinfo/status"
    answer = cluster.api.call("PATCH", path, {"status": FULL.to_dict()}, content_type="application/merge-patch+json")
    assert answer["status"] == FULL.to_dict()
    assert type(FULL).from_dict(answer["status"]) == FULL


@pytest.mark.cluster
def test_on_a_server_git_sinks_and_runs_are_checked_by_their_rules(cluster, namespace):
    cluster.crds(REPOSITORY / "crds")
    from tests.api.test_git_kinds_refuse_what_git_would_obey import BAD_SINKS, good_run, good_sink

    def create(obj: dict[str, Any], *, plural: str, dry_run: bool = True) -> str:
        obj["metadata"]["namespace"] = namespace
        suffix = "?dryRun=All" if dry_run else ""
        try:
            cluster.api.call("POST", f"/apis/canary.dev/v1alpha1/namespaces/{namespace}/{plural}{suffix}", obj)
        except ApiError as error:
            assert error.status == 422, error  # noqa: PT017 - any other answer is no verdict
            return str(error)
        return ""

    assert create(good_sink(), plural="gitsinks") == ""
    for name, (path, value) in BAD_SINKS.items():
        assert create(good_sink(**{path: value}), plural="gitsinks"), name
    run = good_run()
    assert create(run, plural="canaryruns", dry_run=False) == ""
    run["spec"]["strategy"] = "another"
    with pytest.raises(ApiError, match="fixed"):
        cluster.api.apply(f"/apis/canary.dev/v1alpha1/namespaces/{namespace}/canaryruns/{run['metadata']['name']}", run)


def answers_of(cluster: Any, crds: Any, manifests: Any) -> dict[str, Any]:
    """Install the CRDs in place of what is there, and create every manifest."""
    cluster.crds(crds)
    wait_for_schema(cluster, ours=crds.is_dir())
    return {name: Server(cluster).create(obj) for name, obj in manifests}


def wait_for_schema(cluster: Any, *, ours: bool) -> None:
    """The handler of a CRD that replaced another of the same name may still be the old one: wait until it answers as the new."""
    probe = ACCEPTED_BY_US_ALONE["older spelling"]
    cluster.wait("the schema to be served", lambda: isinstance(Server(cluster).create(probe), str) != ours)
