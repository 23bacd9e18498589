"""The mirror against `git http-backend`: what is fetched and what is not, orphans, leases, history, damage, hung processes."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from canary.gitops.command import Patience
from canary.gitops.credentials import GitAuth, auth_from
from canary.gitops.failures import GitFailed
from canary.gitops.git import DEPTH, Author, Draft, Mirror
from canary.sandbox.gitserver import GitServer, Handler
from tests.gitops.support import bury, until

pytestmark = pytest.mark.slow

ME = Author("canary", "canary@example.com")


@pytest.fixture
def make(tmp_path: Path, fleet: str) -> Callable[..., Mirror]:
    def mirror(name: str = "m", *, url: str = fleet, auth: GitAuth | None = None, patience: Patience | None = None) -> Mirror:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Mirror(folder, url, auth or GitAuth(), patience=patience or Patience(local=20, network=20, silence=5))

    return mirror


def draft(path: str, text: str, *, message: str = "change") -> Draft:
    return Draft(message, {path: text.encode()}, {})


async def reason(work: object) -> str:
    with pytest.raises(GitFailed) as caught:
        await work  # type: ignore[misc]
    return caught.value.failure.reason


async def tip(mirror: Mirror, branch: str = "main") -> str:
    found = await mirror.fetch(branch)
    assert found is not None
    return found.oid


# ---------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.fault(22)
async def test_blobs_come_in_one_go_and_only_once(server: GitServer, make: Callable[..., Mirror], filters: bool) -> None:
    many = {f"d{number % 7}/f{number}.yaml": f"number: {number}\n" for number in range(120)}
    server.create("many", many)
    server.git("many", "config", "uploadpack.allowFilter", "true" if filters else "false")
    mirror = make(url=f"{server.url}/many.git")
    commit = await tip(mirror)
    entries = await mirror.files(commit)
    assert {entry.path for entry in entries} == set(many)
    server.requests.clear()
    contents, large = await mirror.blobs(commit, [entry.oid for entry in entries], max_bytes=1000)
    assert {entry.path: contents[entry.oid].decode() for entry in entries} == many
    assert not large
    assert len([line for line in server.requests if line.startswith("POST")]) <= (2 if filters else 0)
    server.requests.clear()
    again, _ = await mirror.blobs(commit, [entry.oid for entry in entries], max_bytes=1000)
    assert again == contents
    assert server.requests == []


async def test_committing_and_pushing_fetches_no_other_blob_than_the_replaced_one(server: GitServer, make: Callable[..., Mirror]) -> None:
    server.create("many", {f"f{number}.bin": os.urandom(2000) for number in range(50)})
    mirror = make(url=f"{server.url}/many.git")
    commit = await tip(mirror)
    [new] = await mirror.commit(commit, [draft("f1.bin", "small")], ME)
    await mirror.push("main", new, expected=commit)
    missing = await mirror._git.run("rev-list", "--objects", "--missing=print", commit)
    assert missing.decode().count("?") in {49, 50}  # a push may ask for what its delta would be based on
    assert server.git("many", "show", "--stat", "--format=", "main").count("|") == 1
    assert len(server.git("many", "ls-tree", "-r", "main").splitlines()) == 50


async def test_only_files_that_hold_a_text_and_are_not_too_large_are_kept(server: GitServer, make: Callable[..., Mirror]) -> None:
    server.write("fleet", {"big.yaml": "podinfo " * 1000, "other.yaml": "nothing\n", "one.yaml": "podinfo\n"}, message="more")
    mirror = make()
    commit = await tip(mirror)
    entries = {entry.oid: entry.path for entry in await mirror.files(commit)}
    contents, large = await mirror.blobs(commit, list(entries), max_bytes=1000, worth=lambda content: b"podinfo" in content)
    assert {entries[oid] for oid in contents} == {"apps/podinfo.yaml", "one.yaml"}
    assert {entries[oid] for oid in large} == {"big.yaml"}


@pytest.mark.fault(21)
async def test_symlinks_and_submodules_are_no_files_and_odd_paths_are(server: GitServer, make: Callable[..., Mirror]) -> None:
    stream = (
        "commit refs/heads/main\ncommitter d <d@e> 1700000000 +0000\ndata 1\nx\nfrom refs/heads/main^0\n"
        'M 120000 inline link.yaml\ndata 1\na\nM 160000 1234567890123456789012345678901234567890 sub\nM 100755 inline "sp ace \\"q\\" \\303\\244.yaml"\ndata 1\na\n'
    )
    server._git("fast-import", "--quiet", cwd=server.root / "fleet.git", stdin=stream.encode())
    mirror = make()
    commit = await tip(mirror)
    odd = 'sp ace "q" ä.yaml'
    assert {entry.path: entry.mode for entry in await mirror.files(commit)} == {
        "README.md": "100644",
        "apps/podinfo.yaml": "100644",
        odd: "100755",
    }
    [new] = await mirror.commit(commit, [Draft("x", {odd: b"new"}, {odd: "100755"})], ME)
    await mirror.push("main", new, expected=commit)
    changed = server.git("fleet", "diff-tree", "-r", "-z", f"{commit}", "main").split("\0")
    assert changed[1::2] == [odd]
    assert changed[0].startswith(":100755 100755")


# ---------------------------------------------------------------------------------------------------------- writing


async def test_an_orphan_branch_is_created_once(server: GitServer, make: Callable[..., Mirror]) -> None:
    one, two = make("one"), make("two")
    assert await one.fetch("records") is None
    assert await two.fetch("records") is None
    [first] = await one.commit(None, [draft("a", "1")], ME)
    [second] = await two.commit(None, [draft("b", "2")], ME)
    await one.push("records", first, expected=None)
    assert await reason(two.push("records", second, expected=None)) == "Stale"
    assert server.git("fleet", "rev-list", "records").split() == [first]
    assert server.git("fleet", "ls-tree", "-r", "--name-only", "records").split() == ["a"]


async def test_a_second_orphan_is_no_child_of_the_first(server: GitServer, make: Callable[..., Mirror]) -> None:
    mirror = make()
    commit = await tip(mirror)
    await mirror.commit(commit, [draft("a", "1")], ME)
    [orphan] = await mirror.commit(None, [draft("b", "2")], ME)
    await mirror.push("records", orphan, expected=None)
    assert server.git("fleet", "rev-list", "--count", "records").strip() == "1"
    assert server.git("fleet", "ls-tree", "-r", "--name-only", "records").split() == ["b"]


async def test_a_chain_of_commits_is_one_push_with_our_name_on_each(server: GitServer, make: Callable[..., Mirror]) -> None:
    mirror = make()
    commit = await tip(mirror)
    ids = await mirror.commit(commit, [draft("a", "1", message="one\n\nbody"), Draft("two", {"a": None, "b": b"2"}, {})], ME)
    await mirror.push("main", ids[-1], expected=commit)
    assert server.git("fleet", "rev-list", "main").split() == [*reversed(ids), commit]
    log = server.git("fleet", "log", "--format=%an %ae %cn %ce %s", f"{commit}..main").splitlines()
    assert log == ["canary canary@example.com canary canary@example.com two", "canary canary@example.com canary canary@example.com one"]
    assert "b\n" in server.git("fleet", "ls-tree", "--name-only", "main")
    assert "a\n" not in server.git("fleet", "ls-tree", "--name-only", "main").replace("apps\n", "")


async def test_a_push_appends_to_what_it_was_computed_from_or_to_nothing(server: GitServer, make: Callable[..., Mirror]) -> None:
    mirror = make()
    commit = await tip(mirror)
    [new] = await mirror.commit(commit, [draft("a", "1")], ME)
    theirs = server.write("fleet", {"b": "theirs"}, message="faster")
    assert await reason(mirror.push("main", new, expected=commit)) == "Stale"
    assert server.git("fleet", "rev-parse", "main").strip() == theirs
    assert await tip(mirror) == theirs


async def test_branches_whose_names_nest_can_follow_each_other(server: GitServer, make: Callable[..., Mirror]) -> None:
    server.write("fleet", {"a": "1"}, message="x", branch="out")
    mirror = make()
    first = await tip(mirror, "out")
    server.git("fleet", "branch", "-D", "out")
    server.write("fleet", {"a": "2"}, message="x", branch="out/deep")
    assert await mirror.fetch("out") is None
    assert await tip(mirror, "out/deep") != first


# ---------------------------------------------------------------------------------------------------------- history


async def test_our_commits_are_found_by_their_trailer_and_by_nothing_else(server: GitServer, make: Callable[..., Mirror]) -> None:
    mine = server.write("fleet", {"a": "1"}, message="x\n\nwhy\n\nCanary-Run-Id: r\nCanary-Effect: revert r1")
    server.write("fleet", {"a": "2"}, message="x\n\nCanary-Effect: revert r2\n\nmore prose")
    server.write("fleet", {"a": "3"}, message="x\n\nCanary-Effect: a\x01\nCanary-Effect: \x01\0b".replace("\0", "\x02"))
    found = await make().fetch("main")
    assert found is not None
    assert found.effects.get("revert r1") == mine
    assert "revert r2" not in found.effects


async def test_no_trailer_passes_for_a_commit_of_its_own(server: GitServer, make: Callable[..., Mirror]) -> None:
    """Whatever stands in it: characters that no person types, the looks of a commit, lines that go on."""
    before = server.git("fleet", "rev-parse", "main").strip()
    stamp = f"{'0' * 40} {int(time.time())}"
    forged = [f"a\x01{stamp}\x01revert r1\x01", "x\x01", f"{stamp}\x01revert r1", "\x01", "a\x1eb\x85c", ""]
    texts = "\n".join(f"Canary-Effect: {text}" for text in forged)
    theirs = server.write("fleet", {"a": "1"}, message=f"x\n\n{texts}")
    server.write("fleet", {"a": "2"}, message=f"x\n\nCanary-Effect: y\n {stamp}\n revert r1")
    last = server.write("fleet", {"a": "3"}, message=f"x\n\nCanary-Effect: z\x01\n\n{stamp}")
    found = await make().fetch("main")
    assert found is not None
    assert found.oid == last
    assert "revert r1" not in found.effects
    assert set(found.effects.values()) <= {before, theirs, *server.git("fleet", "rev-list", "main").split()}
    assert found.effects[f"y {stamp} revert r1"]
    assert {text.strip() for text in forged} <= {text.strip() for text in found.effects}


async def test_a_text_in_another_encoding_ends_at_its_nul(server: GitServer, make: Callable[..., Mirror]) -> None:
    parent = server.git("fleet", "rev-parse", "main").strip()
    who = f"dev <d@e> {int(time.time())} +0000"
    text = f"x\n\nCanary-Effect: +AAA-{'0' * 40} 1700000000+AAA-revert r1+AAA-\n"
    tree = server.git("fleet", "rev-parse", "main^{tree}").strip()
    body = f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\nencoding UTF-7\n\n{text}"
    bare = server.root / "fleet.git"
    commit = server._git("hash-object", "-t", "commit", "-w", "--stdin", cwd=bare, stdin=body.encode()).strip()
    server.git("fleet", "update-ref", "refs/heads/main", commit)
    found = await make().fetch("main")
    assert found is not None
    assert found.oid == commit
    assert "revert r1" not in found.effects
    assert set(found.effects.values()) <= {commit, parent}


async def test_our_commit_is_found_again_below_many_others(server: GitServer, make: Callable[..., Mirror]) -> None:
    before = time.time()
    mine = server.write("fleet", {"a": "ours"}, message="x\n\nCanary-Effect: revert r1")
    bury(server, DEPTH + 30)
    shallow = await make("one").fetch("main")
    assert shallow is not None
    assert "revert r1" not in shallow.effects  # not asked for, so not fetched
    deep = await make("two").fetch("main", since=before)
    assert deep is not None
    assert deep.effects["revert r1"] == mine
    assert deep.oid == shallow.oid


async def test_history_that_reaches_back_far_enough_is_not_fetched_deeper(server: GitServer, make: Callable[..., Mirror]) -> None:
    for number in range(3):
        server.write("fleet", {"a": str(number)}, message="x")
    mirror = make()
    server.requests.clear()
    await mirror.fetch("main", since=time.time() - 10)
    assert len([line for line in server.requests if line.startswith("GET")]) == 1


# ---------------------------------------------------------------------------------------------------------- trouble


@pytest.mark.parametrize("damage", ["lock", "head", "objects", "ref"])
async def test_a_damaged_mirror_says_so_and_is_made_anew(make: Callable[..., Mirror], tmp_path: Path, damage: str) -> None:
    mirror = make()
    commit = await tip(mirror)
    path = tmp_path / "m" / "mirror.git"
    match damage:
        case "lock":
            for ref in (path / "refs" / "canary").iterdir():
                (ref.parent / f"{ref.name}.lock").touch()
            (path / "shallow.lock").touch()
        case "head":
            (path / "HEAD").write_text("")
        case "objects":
            for pack in (path / "objects" / "pack").iterdir():
                pack.write_bytes(b"")
        case "ref":
            for ref in (path / "refs" / "canary").iterdir():
                ref.write_text("")
    try:
        assert await tip(mirror) == commit  # some damage git mends by itself
    except GitFailed as error:
        if error.failure.reason not in {"Local", "Stale", "Unknown"}:  # the reasons for which a mirror is dropped
            raise
        await mirror.drop()
        assert await tip(mirror) == commit


async def test_a_mirror_that_has_grown_too_much_is_made_anew(
    make: Callable[..., Mirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = make()
    commit = await tip(mirror)
    await mirror.tidy()
    monkeypatch.setattr("canary.gitops.git.SPARE_KIB", 100)
    await mirror.commit(commit, [Draft("x", {"big": os.urandom(1_000_000)}, {})], ME)
    await mirror.tidy()
    assert not (tmp_path / "m" / "mirror.git").exists()
    assert await tip(mirror) == commit


@pytest.fixture
def hung(server: GitServer) -> Iterator[None]:
    """The server accepts, and never answers."""
    release = threading.Event()
    server.fault = lambda _: not release.wait(60)
    yield
    release.set()


@pytest.mark.usefixtures("hung")
@pytest.mark.fault(31)
async def test_a_server_that_never_answers_is_given_up_with_all_its_processes(fleet: str, make: Callable[..., Mirror]) -> None:
    assert await reason(make(patience=Patience(local=20, network=0.4)).fetch("main")) == "Unreachable"
    await until(lambda: not _processes(fleet), seconds=2)


@pytest.mark.usefixtures("hung")
async def test_a_cancelled_command_leaves_no_process(fleet: str, make: Callable[..., Mirror]) -> None:
    task = asyncio.create_task(make().fetch("main"))
    await until(lambda: any("git-remote-http" in line for line in _processes(fleet)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not _processes(fleet), seconds=2)


def _processes(url: str) -> set[str]:
    """Command lines of git that talk to this server, and git processes of ours that nobody has waited for."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_text().replace("\0", " ")
            name, rest = (folder / "stat").read_text().rpartition(")")[::2]
        except (OSError, NotADirectoryError):
            continue
        state, parent = rest.split()[:2]
        if "git" in name and (url in line or (state == "Z" and int(parent) == os.getpid())):
            found.add(line or f"zombie {name}")
    return found


async def test_a_server_that_talks_without_end_is_understood_and_cut_short(server: GitServer, make: Callable[..., Mirror]) -> None:
    server.hook("fleet", "pre-receive", "yes 'repository object file pack' | head -c 2000000 >&2; echo; echo 'GH006: no' >&2; exit 1")
    mirror = make()
    commit = await tip(mirror)
    [new] = await mirror.commit(commit, [draft("a", "1")], ME)
    with pytest.raises(GitFailed) as caught:
        await mirror.push("main", new, expected=commit)
    assert caught.value.failure.reason == "Protected"
    assert len(caught.value.failure.text) < 600


async def test_output_without_end_is_given_up(make: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = make()
    commit = await tip(mirror)
    monkeypatch.setattr("canary.gitops.command.MAX_OUTPUT", 10)
    assert await reason(mirror.files(commit)) == "TooLarge"


@pytest.mark.fault(9)
async def test_a_redirect_is_not_followed_with_credentials(server: GitServer, make: Callable[..., Mirror], tmp_path: Path) -> None:
    other = GitServer(tmp_path / "git")
    other.start()
    try:

        def moved(handler: Handler) -> bool:
            handler.answer(301, b"", {"Location": f"{other.url}{handler.path}"})
            return True

        server.fault = moved
        auth = auth_from(server.url, {"bearerToken": b"tok-secret"}, tmp_path)
        assert await reason(make(auth=auth).fetch("main")) == "Moved"
        assert other.requests == []
    finally:
        other.stop()


async def test_no_hook_and_no_setting_of_the_machine_is_obeyed(
    make: Callable[..., Mirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text('[url "http://127.0.0.1:1/"]\n\tinsteadOf = http://\n[core]\n\thooksPath = /x\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_TRACE", "1")
    mirror = make()
    commit = await tip(mirror)
    hooks = tmp_path / "m" / "mirror.git" / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "pre-push").write_text("#!/bin/sh\nexit 1\n")
    (hooks / "pre-push").chmod(0o755)
    [new] = await mirror.commit(commit, [draft("a", "1")], ME)
    await mirror.push("main", new, expected=commit)


@pytest.mark.parametrize("url", ["/etc", "file:///etc", "ext::sh -c 'touch {marker}'", "git://127.0.0.1/x"])
@pytest.mark.fault(30)
async def test_no_other_protocol_is_spoken(make: Callable[..., Mirror], tmp_path: Path, url: str) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(GitFailed, match="not allowed"):
        await make(url=url.format(marker=marker)).fetch("main")
    assert not marker.exists()
