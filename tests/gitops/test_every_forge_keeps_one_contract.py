"""One suite for all forges, against servers that speak as they are documented; Gitea also against a real one, where GITEA_URL names it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web

from canary.core.errors import Rejected
from canary.gitops.failures import Reaction
from canary.gitops.forges import commit_status, pulls
from canary.gitops.forges.address import api_of, detect, place_of, same_repository
from canary.gitops.forges.base import CommitStatus, FileEdits, Forge, ForgeFailed, Proposal, PullState, State
from canary.gitops.forges.client import Throttles
from canary.gitops.forges.registry import forge_for
from canary.sandbox.gitserver import GitServer
from tests.gitops.forge_dialects import GiteaDialect, GitHubDialect, GitLabDialect
from tests.gitops.forge_dialects_more import AzureDialect, BitbucketDialect, BitbucketServerDialect
from tests.gitops.forge_server import TOKEN, Asked, Dialect, Model, serving
from tests.gitops.support import PATH, Clock

DIALECTS = (GitHubDialect, GitLabDialect, GiteaDialect, BitbucketDialect, BitbucketServerDialect, AzureDialect)
SIGNING = [one for one in DIALECTS if one.signs]
SHA = "a" * 40
CONTEXT = "canary/cluster-001/prod/podinfo"
HEAD = "canary-revert/cluster-001/prod.podinfo"


@pytest.fixture(params=DIALECTS, ids=lambda one: one.kind)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    made = request.param(Model())
    assert isinstance(made, Dialect)
    return made


@pytest.fixture
async def forge(dialect: Dialect) -> AsyncIterator[Forge]:
    async with serving(dialect) as forge:
        yield forge


def proposal(run: str = "r1", body: str = "why") -> Proposal:
    return Proposal(HEAD, "main", f"revert of {run}", f"{pulls.marker(run)}\n{body}\n")


async def failed(forge: Forge) -> ForgeFailed:
    with pytest.raises(ForgeFailed) as caught:
        await forge.set_status(SHA, CommitStatus(CONTEXT, State.SUCCESS, "ok"))
    assert TOKEN not in str(caught.value)
    return caught.value


# ------------------------------------------------------------------------------------------------------- statuses
@pytest.mark.parametrize("state", State)
async def test_a_status_is_there_as_it_was_set(forge: Forge, state: State) -> None:
    assert await forge.statuses(SHA, CONTEXT) is None
    wanted = CommitStatus(CONTEXT, state, "weight 30 %, 92.1 < 99", "https://grafana.example/r1")
    await forge.set_status(SHA, wanted)
    found = await forge.statuses(SHA, CONTEXT)
    assert found is not None
    assert (found.description, found.url) == (wanted.description, wanted.url)
    assert found.state is state or (forge.name == "bitbucketServer" and state is State.CANCELED and found.state is State.FAILURE)


async def test_the_latest_status_of_the_context_counts_and_others_do_not(dialect: Dialect, forge: Forge) -> None:
    for number in range(3):
        await forge.set_status(SHA, CommitStatus(f"ci/{number}", State.SUCCESS, "built"))
    await forge.set_status(SHA, CommitStatus(CONTEXT, State.PENDING, "begins"))
    await forge.set_status(SHA, CommitStatus(CONTEXT, State.FAILURE, "ends"))
    for number in range(3, 6):
        await forge.set_status(SHA, CommitStatus(f"ci/{number}", State.SUCCESS, "built"))
    found = await forge.statuses(SHA, CONTEXT)
    assert found is not None
    assert (found.state, found.description) == (State.FAILURE, "ends")


async def test_a_status_is_posted_once(dialect: Dialect, forge: Forge) -> None:
    wanted = CommitStatus(CONTEXT, State.FAILURE, "x" * 600)
    assert await commit_status.ensure(forge, SHA, wanted)
    assert not await commit_status.ensure(forge, SHA, wanted)
    assert len(dialect.model.lines) == 1
    assert await commit_status.ensure(forge, SHA, CommitStatus(CONTEXT, State.SUCCESS, "later"))


async def test_a_commit_that_the_forge_does_not_know_is_the_items_trouble(dialect: Dialect, forge: Forge) -> None:
    dialect.model.unknown.add(SHA)
    error = await failed(forge)
    assert error.of_the_item
    assert error.failure.reaction is Reaction.BLOCKED


# -------------------------------------------------------------------------------------------------- pull requests
async def test_a_pull_request_is_opened_updated_and_closed_with_a_word(dialect: Dialect, forge: Forge) -> None:
    pull = await forge.open_pull(proposal())
    assert pull.state is PullState.OPEN
    assert pull.url.startswith(("https://", "http://"))
    await forge.update_pull(pull, title="another", body=proposal("r2").body)
    (found,) = await forge.pulls(HEAD)
    assert (found.number, found.head, found.base, found.title) == (pull.number, HEAD, "main", "another")
    assert pulls.marker("r2") in found.body
    await forge.close_pull(found, comment="superseded by r3")
    (closed,) = await forge.pulls(HEAD)
    assert closed.state is PullState.CLOSED
    assert dialect.model.pulls[0].comments == ["superseded by r3"]


async def test_it_is_closed_without_a_word_when_there_is_none(dialect: Dialect, forge: Forge) -> None:
    await forge.close_pull(await forge.open_pull(proposal()), comment="")
    assert (dialect.model.pulls[0].state, dialect.model.pulls[0].comments) == ("closed", [])


async def test_what_is_too_long_is_cut_and_found_all_the_same(dialect: Dialect, forge: Forge) -> None:
    pull = await forge.open_pull(proposal(body="x" * 100_000))
    await forge.update_pull(pull, title="y" * 1000, body=proposal("r2", "z" * 100_000).body)
    found = await pulls.find(forge, HEAD, "r2")
    assert found.ours is not None
    assert len(found.ours.title) <= 255


async def test_pull_requests_of_a_branch_are_found_on_all_pages(dialect: Dialect, forge: Forge) -> None:
    model = dialect.model
    for number in range(1, 6):
        model.pulls.append(Asked(number, HEAD, "main", f"t{number}", "b", state="merged" if number == 2 else "closed"))
    model.pulls.append(Asked(6, "other", "main", "t", "b"))
    model.pulls.append(Asked(7, HEAD, "main", "from a fork", pulls.marker("r1"), fork=True))
    found = await forge.pulls(HEAD)
    assert [one.number for one in found] == [5, 4, 3, 2, 1]
    assert [one.state for one in found if one.number == 2] == [PullState.MERGED]


async def test_opening_twice_gives_one(dialect: Dialect, forge: Forge) -> None:
    nothing = await pulls.find(forge, HEAD, "r1")
    assert (nothing.open, nothing.ours) == (None, None)
    first = await pulls.ensure(forge, nothing, proposal())
    again = await pulls.ensure(forge, nothing, proposal())  # as after a crash, or a list that lags
    assert first.number == again.number
    assert len(dialect.model.pulls) == 1
    with pytest.raises(ForgeFailed) as caught:
        await forge.open_pull(proposal())
    assert caught.value.failure.reason == ("Refused" if dialect.kind == "bitbucket" else "Exists")


async def test_a_later_run_takes_the_open_pull_request_over_and_a_closed_one_is_remembered(dialect: Dialect, forge: Forge) -> None:
    await pulls.ensure(forge, await pulls.find(forge, HEAD, "r1"), proposal("r1"))
    taken = await pulls.ensure(forge, await pulls.find(forge, HEAD, "r2"), proposal("r2"))
    assert pulls.marker("r2") in dialect.model.pulls[0].body
    await forge.close_pull((await forge.pulls(HEAD))[0], comment="no")
    found = await pulls.find(forge, HEAD, "r2")
    assert found.open is None
    assert found.ours is not None
    assert (found.ours.number, found.ours.state) == (taken.number, PullState.CLOSED)


async def test_what_a_person_wrote_into_our_pull_request_stays(dialect: Dialect, forge: Forge) -> None:
    await pulls.ensure(forge, await pulls.find(forge, HEAD, "r1"), proposal())
    dialect.model.pulls[0].title = "edited by hand"
    dialect.model.pulls[0].body += "\nreviewed with care"
    await pulls.ensure(forge, await pulls.find(forge, HEAD, "r1"), proposal(body="newer words"))
    assert dialect.model.pulls[0].title == "edited by hand"


# ---------------------------------------------------------------------------------------------------------- faults
FAULTS = {
    401: ("Auth", Reaction.BLOCKED),
    403: ("Forbidden", Reaction.BLOCKED),
    404: ("NotFound", Reaction.BLOCKED),
    409: ("Refused", Reaction.BLOCKED),
    422: ("Refused", Reaction.BLOCKED),
    301: ("Moved", Reaction.BLOCKED),
    500: ("Unreachable", Reaction.BACK_OFF),
    502: ("Unreachable", Reaction.BACK_OFF),
    503: ("Unreachable", Reaction.BACK_OFF),
}


@pytest.mark.parametrize("status", FAULTS)
async def test_a_refusal_has_a_class(dialect: Dialect, forge: Forge, status: int) -> None:
    text = f"no, {TOKEN} may not"
    headers = {"Location": "https://elsewhere.example/steal"} if status == 301 else None
    dialect.model.fault = lambda _: web.json_response({"message": text}, status=status, headers=headers)
    failure = (await failed(forge)).failure
    assert (failure.reason, failure.reaction) == FAULTS[status]
    assert "may not" in failure.text
    assert len(dialect.model.requests) == 1  # neither followed nor tried again


async def test_a_wrong_token_is_told_apart(dialect: Dialect, forge: Forge) -> None:
    dialect.authorization = "another"
    assert (await failed(forge)).failure.reason == "Auth"


@pytest.mark.parametrize(
    ("status", "headers", "text", "seconds"),
    [
        (429, {"Retry-After": "120"}, "slow down", 120),
        (429, {}, "slow down", 60),
        (429, {"Retry-After": "86400"}, "slow down", 3600),
        (403, {"Retry-After": "90"}, "You have exceeded a secondary rate limit", 90),
        (403, {}, "You have exceeded a secondary rate limit", 60),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "@600"}, "API rate limit exceeded", 600),
        (429, {"RateLimit-Reset": "@300"}, "Too Many Requests", 300),
    ],
)
@pytest.mark.fault(23)
async def test_a_throttled_forge_is_left_alone(dialect: Dialect, status: int, headers: dict[str, str], text: str, seconds: int) -> None:
    clock = Clock()
    throttles = Throttles(clock)
    sent = {key: str(int(clock()) + int(value[1:])) if value.startswith("@") else value for key, value in headers.items()}
    async with serving(dialect, throttles=throttles) as forge:
        dialect.model.fault = lambda _: web.json_response({"message": text}, status=status, headers=sent)
        failure = (await failed(forge)).failure
        assert (failure.reason, failure.reaction) == ("Throttled", Reaction.BACK_OFF)
        assert failure.wait == pytest.approx(seconds, abs=2)
        dialect.model.fault = None
        assert (await failed(forge)).failure.reason == "Throttled"
        assert len(dialect.model.requests) == 1
        clock.ahead = seconds + 2
        await forge.set_status(SHA, CommitStatus(CONTEXT, State.SUCCESS, "ok"))


async def test_a_busy_forge_says_how_long(dialect: Dialect, forge: Forge) -> None:
    dialect.model.fault = lambda _: web.Response(
        status=503, headers={"Retry-After": "45"}, text="<html><h1>Down for maintenance</h1></html>"
    )
    failure = (await failed(forge)).failure
    assert (failure.reason, failure.wait) == ("Unreachable", 45)
    assert "Down for maintenance" in failure.text
    assert "<" not in failure.text


async def test_a_slow_forge_is_given_up(dialect: Dialect) -> None:
    async def slow(_: web.Request) -> None:
        await asyncio.sleep(5)

    async with serving(dialect, patience=0.1) as forge:
        dialect.model.fault = slow
        failure = (await failed(forge)).failure
    assert (failure.reason, failure.reaction) == ("Unreachable", Reaction.BACK_OFF)


async def test_nobody_at_home_is_unreachable(dialect: Dialect) -> None:
    async with serving(dialect, api="http://127.0.0.1:9") as forge:
        assert (await failed(forge)).failure.reason == "Unreachable"


@pytest.mark.parametrize(
    "text", ["<html>a proxy</html>", "[1, 2", "[]", "3", '{"x": 1}', '{"number": "many", "id": [], "iid": {}}', "null", ""]
)
async def test_a_strange_answer_is_a_failure_of_its_own(dialect: Dialect, forge: Forge, text: str) -> None:
    dialect.model.fault = lambda _: web.Response(text=text, content_type="application/json")
    with pytest.raises(ForgeFailed) as caught:
        await forge.open_pull(proposal())
    assert (caught.value.failure.reason, caught.value.failure.reaction) == ("Unknown", Reaction.BACK_OFF)
    for answer in (forge.pulls(HEAD), forge.statuses(SHA, CONTEXT)):  # nothing, or the same failure
        (found,) = await asyncio.gather(answer, return_exceptions=True)
        if isinstance(found, BaseException):
            assert isinstance(found, ForgeFailed)
            assert found.failure.reason == "Unknown"
        else:
            assert not found or (isinstance(found, CommitStatus) and found.state is State.FAILURE)


async def test_an_endless_answer_is_cut_off(dialect: Dialect, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("canary.gitops.forges.client.MAX_BODY", 1000)
    dialect.model.fault = lambda _: web.Response(text="x" * 10_000)
    assert "more than" in (await failed(forge)).failure.text


async def test_a_next_page_elsewhere_is_not_asked_for(dialect: Dialect, forge: Forge) -> None:
    """It would be sent the token."""
    elsewhere = "http://127.0.0.1:9/steal"
    body = [] if dialect.kind in {"github", "gitlab", "gitea"} else {"values": [], "value": [], "next": elsewhere, "isLastPage": True}
    dialect.model.fault = lambda _: web.json_response(body, headers={"Link": f'<{elsewhere}>; rel="next"'})
    assert await forge.pulls(HEAD) == []


# ------------------------------------------------------------------------------------------------- commits by API
@pytest.fixture(params=SIGNING, ids=lambda one: one.kind)
def signing(request: pytest.FixtureRequest, server: GitServer) -> Iterator[Dialect]:
    return request.param(Model(server))


def edits(model: Model, content: bytes | None = b"new\n", *, path: str = PATH, branch: str = "main", parent: str = "") -> FileEdits:
    new = path not in model.git.git(model.repo, "ls-tree", "-r", "--name-only", branch).split()  # type: ignore[union-attr]
    replaced = {} if new else {path: model.blob(parent or branch, path)}
    message = "subject\n\nwhy\n\nCanary-Effect: revert r1\n"
    return FileEdits(branch, parent or model.tip(branch), message, {path: content}, replaced, "Bot", "bot@example.com")


async def test_a_commit_by_the_forge_changes_what_it_says(signing: Dialect) -> None:
    model = signing.model
    assert model.git
    async with serving(signing) as forge:
        parent = model.tip("main")
        oid = await forge.commit(edits(model))
        assert oid == model.tip("main")
        assert model.git.git("fleet", "rev-parse", f"{oid}^").strip() == parent
        assert model.git.git("fleet", "show", f"main:{PATH}") == "new\n"
        assert model.git.git("fleet", "log", "-1", "--format=%(trailers:key=Canary-Effect,valueonly)").strip() == "revert r1"
        await forge.commit(edits(model, b"\x00\xff", path="dir/new file.bin"))
        await forge.commit(edits(model, None))
        assert model.git.git("fleet", "ls-tree", "-r", "-z", "--name-only", "main").split("\0")[:-1] == ["README.md", "dir/new file.bin"]


async def test_a_commit_on_what_has_moved_is_computed_anew(signing: Dialect) -> None:
    model = signing.model
    assert model.git
    async with serving(signing) as forge:
        late = edits(model)
        new = edits(model, path="new.yaml")
        model.git.write("fleet", {PATH: "by hand\n", "new.yaml": "by hand\n"}, message="faster")
        for one in (late, new):
            with pytest.raises(ForgeFailed) as caught:
                await forge.commit(one)
            assert (caught.value.failure.reason, caught.value.failure.reaction) == ("Stale", Reaction.RECOMPUTE)
        assert model.git.git("fleet", "show", f"main:{PATH}") == "by hand\n"


async def test_a_commit_to_a_protected_branch_is_refused_as_a_push_is(signing: Dialect) -> None:
    signing.model.protected.add("main")
    async with serving(signing) as forge:
        with pytest.raises(ForgeFailed) as caught:
            await forge.commit(edits(signing.model))
    assert caught.value.failure.reason == "Protected"
    assert caught.value.failure.of_the_push


@pytest.mark.parametrize("kind", [one for one in DIALECTS if not one.signs], ids=lambda one: one.kind)
async def test_a_forge_that_cannot_sign_says_what_can(kind: type[Dialect]) -> None:
    async with serving(kind(Model())) as forge:
        with pytest.raises(ForgeFailed, match="ssh or gpg"):
            await forge.commit(FileEdits("main", SHA, "m", {}))


# ------------------------------------------------------------------------------------------------------- addresses
PLACES = {
    "https://github.com/acme/fleet.git": ("github", "https://api.github.com"),
    "git@github.com:acme/fleet.git": ("github", "https://api.github.com"),
    "ssh://git@github.com/acme/fleet": ("github", "https://api.github.com"),
    "https://acme.ghe.com/acme/fleet": ("github", "https://api.acme.ghe.com"),
    "https://github.acme.example/a/b.git": ("github", "https://github.acme.example/api/v3"),
    "https://gitlab.com/group/sub/fleet.git": ("gitlab", "https://gitlab.com/api/v4"),
    "https://gitlab.acme.example:8443/g/f.git": ("gitlab", "https://gitlab.acme.example:8443/api/v4"),
    "ssh://git@gitlab.acme.example:2222/g/f.git": ("gitlab", "https://gitlab.acme.example/api/v4"),
    "https://codeberg.org/acme/fleet": ("gitea", "https://codeberg.org/api/v1"),
    "http://gitea.acme.example:3000/a/b": ("gitea", "http://gitea.acme.example:3000/api/v1"),
    "https://bitbucket.org/acme/fleet.git": ("bitbucket", "https://api.bitbucket.org/2.0"),
    "https://bitbucket.acme.example/scm/ops/fleet.git": ("bitbucketServer", "https://bitbucket.acme.example"),
    "https://stash.acme.example/ctx/scm/~joe/fleet.git": ("bitbucketServer", "https://stash.acme.example/ctx"),
    "https://dev.azure.com/org/project/_git/fleet": ("azure", "https://dev.azure.com/org"),
    "git@ssh.dev.azure.com:v3/org/project/fleet": ("azure", "https://dev.azure.com/org"),
    "https://org.visualstudio.com/DefaultCollection/project/_git/fleet": ("azure", "https://org.visualstudio.com"),
    "https://git.example/acme/fleet.git": (None, ""),
    "https://notgithub.com/acme/fleet.git": (None, ""),
}


@pytest.mark.parametrize("url", PLACES)
def test_the_forge_follows_from_the_url(url: str) -> None:
    kind, api = PLACES[url]
    assert detect(url) == kind
    if kind:
        assert api_of(kind, place_of(url)) == api
        assert forge_for(url, secret={"token": b"x"}).name == kind
    else:
        with pytest.raises(Rejected, match="is not known"):
            forge_for(url, secret={"token": b"x"})


def test_urls_of_one_repository_are_known_as_such() -> None:
    assert same_repository("https://github.com/Acme/fleet.git", "git@github.com:acme/fleet")
    assert same_repository("https://dev.azure.com/o/p/_git/f", "git@ssh.dev.azure.com:v3/o/p/f")
    assert not same_repository("https://github.com/acme/fleet", "https://gitlab.com/acme/fleet")
    assert not same_repository("https://github.com/acme/fleet", "https://github.com/acme/apps")
    assert not same_repository("x", "x")


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ({}, "no token"),
        ({"identity": b"key"}, "no token"),
        ({"githubAppID": b"1", "githubAppPrivateKey": b"k", "token": b"t"}, "GitHub App"),
        ({"token": b"a\nb"}, "line break"),
        ({"token": "schlüssel".encode()}, "line break or another character"),
    ],
)
def test_a_secret_that_is_of_no_use_is_refused_at_once(secret: dict[str, bytes], words: str) -> None:
    with pytest.raises(Rejected, match=words) as caught:
        forge_for("https://github.com/a/b", secret=secret)
    assert "schlüssel" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://github.com/justone", "https://dev.azure.com/org", "https://bitbucket.acme.example/x", "nonsense"])
def test_a_url_without_a_repository_is_refused(url: str) -> None:
    with pytest.raises(Rejected):
        forge_for(url, secret={"token": b"t"})


# ---------------------------------------------------------------------------------------------------- a real Gitea
async def test_a_real_gitea_keeps_the_contract() -> None:
    """GITEA_URL: URL of an empty or throw-away repository with a branch main; GITEA_TOKEN: may write to it."""
    url = os.environ.get("GITEA_URL", "")
    if not url:
        pytest.skip("GITEA_URL names no real Gitea or Forgejo repository")
    forge = forge_for(url, kind="gitea", secret={"token": os.environ["GITEA_TOKEN"].encode()})
    head = f"canary-contract/{os.urandom(4).hex()}"
    try:
        tip = await forge.commit(FileEdits("main", "", f"contract {head}", {f"{head}.txt": b"1\n"}))
        wanted = CommitStatus(CONTEXT, State.PENDING, "contract", "https://example.com/")
        assert await commit_status.ensure(forge, tip, wanted)
        assert not await commit_status.ensure(forge, tip, wanted)
        assert await commit_status.ensure(forge, tip, CommitStatus(CONTEXT, State.SUCCESS, "contract"))
        assert (await forge.statuses(tip, CONTEXT) or wanted).state is State.SUCCESS
        with pytest.raises(ForgeFailed) as caught:
            await forge.commit(FileEdits("main", "", "again", {f"{head}.txt": b"2\n"}))
        assert caught.value.failure.reason == "Stale"
        assert await forge.pulls(head) == []
    finally:
        await forge.close()
