"""A branch that people alone may change gets a pull request instead of a push: one, whatever happens, and what people say to it is heard."""

from __future__ import annotations

from datetime import datetime

import pytest
from aiohttp import web

from canary.kube.resource import CANARY_RUNS, GIT_SINKS, SECRETS
from canary.sandbox.gitserver import GitServer
from tests.gitops.forge_dialects import GitHubDialect, GitLabDialect
from tests.gitops.forge_dialects_more import AzureDialect, BitbucketDialect, BitbucketServerDialect
from tests.gitops.forge_server import Dialect
from tests.gitops.forge_support import HEAD, Scene, down, merge, scene, unknown_token
from tests.gitops.support import (
    BAD,
    GOOD,
    MANIFEST,
    NAMESPACE,
    PATH,
    effects,
    records,
    run,
    running,
    secret,
    settled,
    show,
    sink,
    subjects,
    until,
)

pytestmark = pytest.mark.slow

ASKING = {"delivery": "pullRequest"}
PROTECT = """while read old new ref; do [ $ref = refs/heads/main ] && echo "error: GH006: Protected branch update failed" && exit 1; done; exit 0"""
WAITS = ("Waiting", "PullRequest")


def pushed(one: Scene) -> str:
    return show(one.server, PATH, repo=one.repo, branch=HEAD)


async def test_a_failed_release_asks_and_is_done_when_it_is_merged(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "record", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == WAITS)
            assert one.effect("pr")["ref"] == "https://gitea.example/acme/fleet/pulls/1"
            (pull,) = one.model.pulls
            assert (pull.head, pull.base) == (HEAD, "main")
            assert pull.title == "canary(prod/podinfo): revert 6.1.0 -> 6.0.0, analysis failed on cluster-001"
            assert "request-success-rate 92.1 < 99" in pull.body
            assert "<!-- canary-run: r1 -->" in pull.body
            assert subjects(one.server, one.repo) == ["initial"]  # nothing was pushed to what is delivered
            assert pushed(one) == MANIFEST.replace(BAD, GOOD)
            assert records(one.server, one.repo) == ["cluster-001/prod/podinfo/r1.json"]
            merge(one)
            await one.later(outbox, 31)
            await until(lambda: settled(one.api))
        assert one.said("pr") == ("Done", "")
        assert len(one.model.pulls) == 1


@pytest.mark.parametrize(
    "dialect", [GitHubDialect, GitLabDialect, BitbucketServerDialect, BitbucketDialect, AzureDialect], ids=lambda one: one.kind
)
async def test_every_forge_is_asked(server: GitServer, dialect: type[Dialect]) -> None:
    async with scene(server, dialect=dialect) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == WAITS)
            assert one.effect("pr")["ref"].endswith("/1")
            merge(one)
            await one.later(outbox, 31)
            await until(lambda: settled(one.api))


async def test_a_poll_that_finds_nothing_new_writes_nothing(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == WAITS)
            version = one.api.stored(CANARY_RUNS, NAMESPACE, "r1")["metadata"]["resourceVersion"]
            for seconds in (31, 61, 121, 301, 301):
                asked = len(one.model.requests)
                await one.later(outbox, seconds)
                await until(lambda before=asked: len(one.model.requests) > before)
            assert one.api.stored(CANARY_RUNS, NAMESPACE, "r1")["metadata"]["resourceVersion"] == version
            assert one.server.git(one.repo, "rev-list", "--count", f"main..{HEAD}").strip() == "1"


@pytest.mark.fault(24)
async def test_a_no_is_remembered_and_the_next_run_may_ask_anew(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == WAITS)
            one.model.pulls[0].state = "closed"
            await one.later(outbox, 31)
            await until(lambda: settled(one.api))
        assert one.said("pr") == ("Skipped", "Declined")
        one.run("r2", "pr", minute=5)
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pr", "r2") == WAITS)
        assert [pull.state for pull in one.model.pulls] == ["closed", "open"]
        assert "canary-run: r2" in one.model.pulls[1].body


async def test_a_later_run_that_fails_takes_the_open_one_over(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == WAITS)
            one.run("r2", "pr", minute=5)
            await until(lambda: one.said("pr", "r2") == WAITS)
            await one.later(outbox, 61)
            await until(lambda: one.said("pr") == ("Skipped", "Superseded"))
        (pull,) = one.model.pulls
        assert pull.state == "open"
        assert "canary-run: r2" in pull.body
        assert one.server.git(one.repo, "rev-list", "--count", f"main..{HEAD}").strip() == "1"  # made anew, never stacked


async def test_a_later_success_closes_it_with_a_word(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING, records={"target": "none"})
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == WAITS)
            one.api.add(CANARY_RUNS, run("r2", outcome="Succeeded", minute=5, effects=()))
            await one.later(outbox, 31)
            await until(lambda: one.said("pr") == ("Skipped", "Superseded"))
        (pull,) = one.model.pulls
        assert pull.state == "closed"
        assert len(pull.comments) == 1
        assert "r2" in pull.comments[0]


async def test_a_revert_by_hand_closes_it(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == WAITS)
            one.server.write(one.repo, {PATH: MANIFEST.replace(BAD, GOOD)}, message="by hand")
            await one.later(outbox, 31)
            await until(lambda: one.said("pr") == ("Skipped", "AlreadyReverted"))
        assert one.model.pulls[0].state == "closed"


@pytest.mark.fault(24)
async def test_a_base_that_moved_is_proposed_anew(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == WAITS)
            moved = MANIFEST + "      replicas: 3\n"
            one.server.write(one.repo, {PATH: moved}, message="more")
            before = one.model.tip(HEAD)
            await one.later(outbox, 31)
            await until(lambda: one.model.tip(HEAD) != before)
        assert pushed(one) == moved.replace(BAD, GOOD)
        assert len(one.model.pulls) == 1


@pytest.mark.fault(24)
async def test_what_others_add_to_our_branch_is_never_overwritten(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == WAITS)
            theirs = one.server.write(one.repo, {"README.md": "reviewed\n"}, message="fixup", branch=HEAD)
            one.server.write(one.repo, {PATH: MANIFEST + "# moved\n"}, message="more")
            asked = len(one.model.requests)
            await one.later(outbox, 31)
            await until(lambda: len(one.model.requests) > asked)
            await one.later(outbox, 61)
            await one.later(outbox, 1)
        assert one.model.tip(HEAD) == theirs
        assert one.said("pr") == WAITS
        one.model.pulls[0].state = "closed"
        one.run("r2", "pr", minute=5)
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pr", "r2") == ("Blocked", "ForeignCommit"))
        assert one.model.tip(HEAD) == theirs


# ------------------------------------------------------------------------------------------------ auto, and changes of mind
@pytest.mark.fault(7)
async def test_auto_pushes_where_it_may_and_asks_where_it_may_not(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure={"delivery": "auto"})
        one.run("r1", "revert")
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        assert one.model.pulls == []
        assert len(subjects(one.server, one.repo)) == 2
    async with scene(server, name="two") as one:
        one.server.hook(one.repo, "pre-receive", PROTECT)
        one.sink(onFailure={"delivery": "auto"})
        one.run("r1", "record", "revert")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("revert") == WAITS)
            one.server.requests.clear()
            await one.later(outbox, 31)
            await until(lambda: len(one.server.requests) > 0)
            assert not any("receive-pack" in line for line in one.server.requests)  # not refused again and again
            merge(one)
            await one.later(outbox, 61)
            await until(lambda: settled(one.api))
        assert one.condition() == ("True", "Reachable")
        assert len(one.model.pulls) == 1


async def test_many_refused_reverts_become_a_pull_request_each(server: GitServer) -> None:
    names = [f"app{number}" for number in range(5)]
    async with scene(server) as one:
        one.server.write(one.repo, {f"apps/{name}.yaml": MANIFEST.replace("podinfo", name) for name in names}, message="apps")
        one.server.hook(one.repo, "pre-receive", PROTECT)
        one.sink(onFailure={"delivery": "auto"})
        for number, name in enumerate(names):
            images = {"images": {name: BAD.replace("podinfo", name)}, "previous": {name: GOOD.replace("podinfo", name)}}
            one.run(f"r{number}", "revert", canary=name, minute=number, **images)
        async with running(one.api, clock=one.clock):
            await until(lambda: all(one.said("revert", f"r{number}") == WAITS for number in range(5)))
        assert sorted(pull.head for pull in one.model.pulls) == [f"canary-revert/cluster-001/prod.{name}" for name in names]


async def test_what_is_blocked_is_asked_for_once_the_sink_says_so(server: GitServer) -> None:
    async with scene(server) as one:
        one.server.hook(one.repo, "pre-receive", PROTECT)
        one.sink()
        one.run("r1", "record", "revert")
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("revert") == ("Blocked", "Protected"))
            one.change(onFailure=ASKING)
            await until(lambda: one.said("revert") == WAITS)
        assert len(one.model.pulls) == 1


async def test_a_sink_that_wants_pushes_again_pushes(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pr") == WAITS)
            one.change(onFailure={"delivery": "push"})
            await until(lambda: settled(one.api))
        assert len(subjects(one.server, one.repo)) == 2


# --------------------------------------------------------------------------------------------------- trouble with the forge
async def test_a_forge_that_is_down_delays_nothing_else(server: GitServer) -> None:
    async with scene(server) as one:
        one.model.fault = down
        one.sink(onFailure=ASKING, statuses={"target": "commit"})
        for number in range(5):
            one.run(f"r{number}", "record", "status", outcome="Succeeded", minute=number)
        one.run("r9", "record", "pr", "status", minute=9)
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr", "r9") == ("Retrying", "Unreachable"))
            await until(lambda: all(one.said("record", f"r{number}")[0] == "Done" for number in (0, 1, 2, 3, 4, 9)))
            await until(lambda: one.condition() == ("True", "Reachable"))
            assert len(one.model.requests) <= 2  # not once for everybody who waits
            one.model.fault = None
            await one.later(outbox, 601)
            await until(lambda: one.said("pr", "r9") == WAITS and one.said("status", "r9")[0] == "Done")
        assert len(one.model.pulls) == 1


async def test_a_token_that_is_not_known_blocks_until_the_secret_changes(server: GitServer) -> None:
    async with scene(server) as one:
        one.model.fault = unknown_token
        one.sink(onFailure=ASKING)
        one.run("r1", "record", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == ("Blocked", "Auth"))
            await until(lambda: one.condition() == ("False", "Auth"))
            assert "s3cret" not in str(one.api.stored(CANARY_RUNS, NAMESPACE, "r1"))
            assert one.said("record") == ("Done", "")
            asked = len(one.model.requests)
            await one.later(outbox, 30)
            one.model.fault = None
            one.api.change(SECRETS, NAMESPACE, "forge", {"metadata": {"annotations": {"rotated": "yes"}}})
            await one.later(outbox, 61)
            await until(lambda: one.said("pr") == WAITS)
            assert asked == 1
            await until(lambda: one.condition() == ("True", "Reachable"))


@pytest.mark.parametrize("data", [{"password": ""}, {"githubAppID": "1", "githubAppPrivateKey": "x"}])
async def test_a_secret_without_a_token_concerns_the_forge_alone(server: GitServer, data: dict[str, str]) -> None:
    async with scene(server) as one:
        one.api.remove(SECRETS, NAMESPACE, "forge")
        one.api.add(SECRETS, secret("forge", **data))
        one.sink(onFailure=ASKING)
        one.run("r1", "record", "pr")
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pr") == ("Blocked", "Rejected"))
            assert one.said("record") == ("Done", "")
            assert "token" in one.effect("pr")["error"]


@pytest.mark.fault(23)
async def test_a_forge_that_wants_to_be_left_alone_is_left_alone_by_all_sinks(server: GitServer) -> None:
    async with scene(server) as one:
        one.model.fault = lambda _: web.Response(status=429, headers={"Retry-After": "300"}, text="slow down")
        one.sink(onFailure=ASKING)
        provider = one.api.stored(GIT_SINKS, NAMESPACE, "fleet")["spec"]["provider"]
        one.api.add(GIT_SINKS, sink(one.url, name="again", provider=provider, onFailure=ASKING, records={"target": "none"}))
        one.run("r1", "record", "pr")
        one.api.add(CANARY_RUNS, run("r2", canary="other", effects=("pr/again",), minute=1))
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr") == ("Retrying", "Throttled"))
            await until(lambda: effects(one.api, "r2")["pr/again"].get("reason") == "Throttled")
            assert len(one.model.requests) == 1
            next_at = datetime.fromisoformat(one.effect("pr")["nextAt"]).timestamp()
            assert 280 < next_at - one.clock() < 310
            one.model.fault = None
            await one.later(outbox, 200)
            await one.later(outbox, 0)
            assert len(one.model.requests) == 1
            await one.later(outbox, 110)
            await until(lambda: one.said("pr") == WAITS)


async def test_an_unknown_forge_says_what_to_set(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING, provider={"type": "auto"})
        one.run("r1", "record", "pr")
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pr") == ("Blocked", "Rejected"))
        assert "spec.provider.type" in one.effect("pr")["error"]
        assert one.said("record") == ("Done", "")


@pytest.mark.fault(29)
async def test_words_from_the_cluster_cannot_speak_for_us(server: GitServer) -> None:
    """A reason with a marker of another run, a fence and a mention."""
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr", reason="``` <!-- canary-run: r7 --> @everyone\n<!-- canary-run: r8 -->")
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pr") == WAITS)
        body = one.model.pulls[0].body
        assert "<!-- canary-run: r7" not in body
        assert "<!-- canary-run: r8" not in body
        assert body.count("```") == 2
        assert body.index("@everyone") < body.rindex("```")
