"""U29: which ConfigMaps and Secrets count, what their checksums are, and what looking at them costs."""

import pytest

from canary.core.errors import Forbidden, Retryable
from canary.kube.resource import CONFIG_MAPS, SECRETS, Object
from canary.targets.config_tracker import ConfigTracker, MissingConfig, checksum
from tests.fakes.cluster import FakeCluster
from tests.targets.podinfo import DEPLOYMENT, add_configs, config_map, secret

TEMPLATE = DEPLOYMENT["spec"]["template"]
RED = "241889ca0604e333"
API_KEY = "3930f0692c2295eb"


@pytest.fixture
def tracker() -> ConfigTracker:
    return ConfigTracker()


def uses(*volumes: Object) -> Object:
    return {"spec": {"containers": [], "volumes": [{"name": str(i), **volume} for i, volume in enumerate(volumes)]}}


def map_volume(name: str, **more: bool) -> Object:
    return {"configMap": {"name": name, **more}}


# -------------------------------------------------------------------------------------------------- checksums


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"color": "red"}, RED),  # recorded from upstream, as the next two
        ({"apiKey": "dGVzdA=="}, API_KEY),
        (None, "74234e98afe7498f"),
        ({}, "74234e98afe7498f"),  # the API server stores no empty map
    ],
)
def test_checksums_are_upstreams(data: dict[str, str] | None, expected: str):
    assert checksum({"data": data}) == expected


def test_checksums_escape_as_go_does():
    import hashlib

    text = '{"a":"\\u003ca\\u003e\\u0026\\u2028\\u2029","b":"ü\\"\\n"}'
    assert checksum({"data": {"b": 'ü"\n', "a": "<a>&\u2028\u2029"}}) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_binary_data_counts_and_is_told_apart_from_text():
    sums = {
        checksum(config)
        for config in (
            {"data": {"a": "eA=="}},
            {"binaryData": {"a": "eA=="}},
            {"binaryData": {"a": "eQ=="}},
            {"data": {"a": "eA=="}, "binaryData": {"b": "eA=="}},
        )
    }
    assert len(sums) == 4


# ------------------------------------------------------------------------------------------------ what counts


async def test_every_kind_of_reference_is_found(fake: FakeCluster, tracker: ConfigTracker):
    add_configs(fake)
    assert await tracker.tracked(fake, "test", TEMPLATE) == {
        **{f"configmap/{name}": RED for name in ("colors", "flags", "files", "projected-map")},
        **{f"secret/{name}": API_KEY for name in ("token", "certs", "projected-secret")},
    }


@pytest.mark.parametrize("name", ["kubernetes.io/service-account-token", "kubernetes.io/dockerconfigjson", "helm.sh/release.v1"])
async def test_secrets_of_other_types_are_shared(fake: FakeCluster, tracker: ConfigTracker, name: str):
    fake.add(SECRETS, secret("s", {"a": "eA=="}, type=name))
    assert await tracker.tracked(fake, "test", uses({"secret": {"secretName": "s"}})) == {}


@pytest.mark.parametrize("name", ["Opaque", "kubernetes.io/basic-auth", "kubernetes.io/ssh-auth", "kubernetes.io/tls"])
async def test_secrets_of_these_types_are_tracked(fake: FakeCluster, tracker: ConfigTracker, name: str):
    fake.add(SECRETS, secret("s", {"apiKey": "dGVzdA=="}, type=name))
    assert await tracker.tracked(fake, "test", uses({"secret": {"secretName": "s"}})) == {"secret/s": API_KEY}


@pytest.mark.parametrize(("value", "tracked"), [("disabled", False), ("disable", False), ("enabled", True), ("", True)])
async def test_tracking_is_switched_off_on_the_object(fake: FakeCluster, tracker: ConfigTracker, value: str, tracked: bool):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}, metadata={"annotations": {"flagger.app/config-tracking": value}}))
    assert await tracker.tracked(fake, "test", uses(map_volume("c"))) == ({"configmap/c": RED} if tracked else {})


async def test_a_disabled_object_is_never_read_also_when_it_is_disabled_later(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    assert await tracker.tracked(fake, "test", uses(map_volume("c")))
    fake.requests.clear()
    fake.change(CONFIG_MAPS, "test", "c", {"metadata": {"annotations": {"flagger.app/config-tracking": "disabled"}}})
    assert await tracker.tracked(fake, "test", uses(map_volume("c"))) == {}
    assert fake.requests == []


async def test_a_missing_mandatory_object_is_named(fake: FakeCluster, tracker: ConfigTracker):
    with pytest.raises(MissingConfig, match=r"configmap nowhere\.test get query error") as caught:
        await tracker.tracked(fake, "test", uses(map_volume("nowhere")))
    assert "ConfigMap test/nowhere" in caught.value.hint


async def test_a_missing_optional_object_is_skipped(fake: FakeCluster, tracker: ConfigTracker):
    assert await tracker.tracked(fake, "test", uses(map_volume("nowhere", optional=True))) == {}


@pytest.mark.parametrize("last_is_optional", [True, False])
async def test_the_last_of_several_references_says_whether_it_is_optional(
    fake: FakeCluster, tracker: ConfigTracker, last_is_optional: bool
):
    template = uses(map_volume("x", optional=not last_is_optional), map_volume("x", optional=last_is_optional))
    if last_is_optional:
        assert await tracker.tracked(fake, "test", template) == {}
    else:
        with pytest.raises(MissingConfig):
            await tracker.tracked(fake, "test", template)


async def test_an_object_that_vanishes_before_it_is_read_is_missing(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    fake.lag(CONFIG_MAPS, "test", "c")
    fake.remove(CONFIG_MAPS, "test", "c")
    with pytest.raises(MissingConfig):
        await tracker.tracked(fake, "test", uses(map_volume("c")))


@pytest.mark.parametrize("error", [Retryable("the API server is away"), Forbidden("no")])
async def test_an_api_error_is_not_taken_for_absence(fake: FakeCluster, tracker: ConfigTracker, error: Exception):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    fake.fail("read", CONFIG_MAPS, error)
    with pytest.raises(type(error)):
        await tracker.tracked(fake, "test", uses(map_volume("c", optional=True)))


# ----------------------------------------------------------------------------------------------- what it costs


async def test_content_is_read_once_per_version_for_all_canaries(fake: FakeCluster, tracker: ConfigTracker):
    add_configs(fake)
    await tracker.tracked(fake, "test", TEMPLATE)
    assert len(fake.requests) == 8
    await tracker.tracked(fake, "test", TEMPLATE)
    await tracker.tracked(fake, "test", uses(map_volume("colors")))
    assert len(fake.requests) == 8


async def test_only_what_has_changed_is_read_again(fake: FakeCluster, tracker: ConfigTracker):
    add_configs(fake)
    before = await tracker.tracked(fake, "test", TEMPLATE)
    fake.requests.clear()
    fake.change(CONFIG_MAPS, "test", "colors", {"data": {"color": "blue"}})
    after = await tracker.tracked(fake, "test", TEMPLATE)
    assert fake.requests == [("read", "configmaps", "colors")]
    assert {key for key in after if after[key] != before[key]} == {"configmap/colors"}


async def test_a_touched_label_is_no_change(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    before = await tracker.tracked(fake, "test", uses(map_volume("c")))
    fake.change(CONFIG_MAPS, "test", "c", {"metadata": {"labels": {"touched": "yes"}}})
    assert await tracker.tracked(fake, "test", uses(map_volume("c"))) == before


async def test_a_watch_that_lags_behind_costs_one_read_and_not_one_per_look(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "blue"}))
    fake.lag(CONFIG_MAPS, "test", "c")
    fake.change(CONFIG_MAPS, "test", "c", {"data": {"color": "red"}})
    for _ in range(3):
        assert await tracker.tracked(fake, "test", uses(map_volume("c"))) == {"configmap/c": RED}
    fake.catch_up()
    assert await tracker.tracked(fake, "test", uses(map_volume("c"))) == {"configmap/c": RED}
    assert len(fake.requests) == 1


async def test_a_recreated_object_is_read_again(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(CONFIG_MAPS, config_map("c", {"color": "blue"}))
    await tracker.tracked(fake, "test", uses(map_volume("c")))
    fake.remove(CONFIG_MAPS, "test", "c")
    fake.add(CONFIG_MAPS, config_map("c", {"color": "red"}))
    assert await tracker.tracked(fake, "test", uses(map_volume("c"))) == {"configmap/c": RED}


async def test_nothing_of_a_secrets_content_is_remembered(fake: FakeCluster, tracker: ConfigTracker):
    fake.add(SECRETS, secret("s", {"apiKey": "dGVzdA=="}))
    await tracker.tracked(fake, "test", uses({"secret": {"secretName": "s"}}))
    assert "dGVzdA" not in repr(vars(tracker))
