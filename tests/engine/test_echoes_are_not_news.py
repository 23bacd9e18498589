"""A canary is not woken by its own writes coming back, and never misses anybody else's."""

import pytest

from canary.engine.echoes import Echoes
from canary.engine.tracking import TrackingCluster
from canary.kube.resource import DEPLOYMENTS

KEY, OTHER = ("test", "app"), ("test", "other")
REF = (DEPLOYMENTS, "test", "app")


@pytest.fixture
def echoes() -> Echoes:
    return Echoes()


def write(echoes, version, *heard):
    """A write of KEY to REF, answered with `version`; `heard` came from the watch before the answer."""
    with echoes.writing(KEY, REF) as flight:
        news = [echoes.is_news(KEY, REF, one) for one in heard]
        flight.version = version
    return news


def test_an_echo_that_is_slower_than_the_answer_is_no_news(echoes):
    write(echoes, "7")
    assert not echoes.ended(KEY, {REF})
    assert not echoes.is_news(KEY, REF, "7")


def test_an_echo_that_is_faster_than_the_answer_is_no_news(echoes):
    assert write(echoes, "7", "7") == [False]
    assert not echoes.ended(KEY, {REF})


def test_a_change_after_our_own_is_news(echoes):
    write(echoes, "7", "7")
    assert echoes.is_news(KEY, REF, "8")


def test_an_echo_is_expected_once(echoes):
    write(echoes, "7")
    assert [echoes.is_news(KEY, REF, version) for version in ("7", "8", "7")] == [False, True, True]


@pytest.mark.parametrize("heard", [("6",), ("6", "7"), ("7", "8")])
def test_somebody_elses_change_during_our_write_calls_for_another_look(echoes, heard):
    assert write(echoes, "7", *heard) == [False] * len(heard)
    assert echoes.ended(KEY, {REF})
    assert not echoes.ended(KEY, {REF})


def test_what_is_heard_during_a_write_that_fails_calls_for_another_look(echoes):
    with pytest.raises(TimeoutError), echoes.writing(KEY, REF):
        assert not echoes.is_news(KEY, REF, "6")
        raise TimeoutError
    assert echoes.ended(KEY, {REF})
    assert echoes.is_news(KEY, REF, "7")


def test_our_write_is_news_to_other_canaries_that_read_the_object(echoes):
    with echoes.writing(KEY, REF) as flight:
        assert echoes.is_news(OTHER, REF, "7")
        flight.version = "7"
    assert echoes.is_news(OTHER, REF, "7")


def test_what_is_no_longer_read_is_not_remembered(echoes):
    write(echoes, "7")
    echoes.ended(KEY, set())
    assert echoes.is_news(KEY, REF, "7")


def test_a_canary_of_the_same_name_begins_without_memories(echoes):
    write(echoes, "7", "6")
    write(echoes, "8")
    echoes.forget(KEY)
    assert echoes.is_news(KEY, REF, "8")
    assert not echoes.ended(KEY, {REF})


class Slow:
    """A cluster whose writes are told by the watch before they are answered."""

    def __init__(self, echoes):
        self.echoes, self.news = echoes, []

    async def _written(self):
        self.news.append(self.echoes.is_news(KEY, REF, "7"))
        return {"metadata": {"name": "app", "namespace": "test", "resourceVersion": "7"}}

    async def apply(self, resource, body, *, force):
        return await self._written()

    async def create(self, resource, body):
        return await self._written()

    async def merge(self, resource, namespace, name, patch, *, subresource):
        return await self._written()

    async def json_patch(self, resource, namespace, name, ops):
        return await self._written()


@pytest.mark.parametrize("verb", ["apply", "create", "merge", "json_patch"])
async def test_every_kind_of_write_is_announced(echoes, verb):
    cluster = Slow(echoes)
    tracked = TrackingCluster(cluster, echoes, KEY)
    body = {"metadata": {"name": "app", "namespace": "test"}}
    arguments = {"merge": ("test", "app", {}), "json_patch": ("test", "app", [])}.get(verb, (body,))
    await getattr(tracked, verb)(DEPLOYMENTS, *arguments)
    assert cluster.news == [False]
    assert not echoes.ended(KEY, {REF})
