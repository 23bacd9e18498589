"""Commits and tags that git itself verifies, by SSH and GPG keys of ours or by the forge; and no key on the disk afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from canary.gitops.command import Git
from canary.gitops.credentials import GitAuth
from canary.gitops.git import Draft, Mirror
from canary.gitops.signing import Author, key_signer
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, SECRETS
from canary.sandbox.gitserver import GitServer
from tests.gitops.forge_dialects import GiteaDialect, GitHubDialect, GitLabDialect
from tests.gitops.forge_dialects_more import AzureDialect
from tests.gitops.forge_server import Dialect
from tests.gitops.forge_support import scene
from tests.gitops.support import (
    BAD,
    GOOD,
    NAMESPACE,
    PATH,
    Api,
    Clock,
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

gpg = pytest.mark.skipif(shutil.which("gpg") is None and not os.environ.get("CI"), reason="there is no gpg on this machine")
SIGNED_ONLY = """while read old new ref; do
  for c in $(git rev-list $new --not --all); do
    git cat-file commit $c | grep -q '^gpgsig' || { echo "error: Commits must have verified signatures."; exit 1; }
  done
done"""


@pytest.fixture(scope="module")
def ssh_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "canary", "-f", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def gpg_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one key, whose passphrase is `open sesame`."""
    home = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    quick = ["--quick-generate-key", "Canary <canary@example.com>", "ed25519", "sign", "never"]
    phrase = ["--pinentry-mode", "loopback", "--passphrase", "open sesame"]
    subprocess.run(["gpg", "--homedir", str(home), "--batch", *phrase, *quick], check=True, capture_output=True)
    export = ["gpg", "--homedir", str(home), "--batch", *phrase, "--armor", "--export-secret-keys"]
    (home / "git.asc").write_bytes(subprocess.run(export, check=True, capture_output=True).stdout)
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
    shutil.rmtree(home, ignore_errors=True)


def verified_by_ssh(server: GitServer, repo: str, what: str, key: Path, kind: str = "commit") -> bool:
    allowed = key.parent / "allowed"
    allowed.write_text(f"canary@canary.dev {key.with_suffix('.pub').read_text()}")
    command = ["git", "-c", f"gpg.ssh.allowedSignersFile={allowed}", f"verify-{kind}", what]
    return subprocess.run(command, cwd=server.root / f"{repo}.git", capture_output=True, check=False).returncode == 0


def leftovers() -> set[str]:
    """Folders of keys in use; empty once nobody signs."""
    return {path.name for path in Path(tempfile.gettempdir()).glob("canary-key-*")}


def signed_sink(api: Api, url: str, kind: str, **data: str) -> None:
    api.add(SECRETS, secret("sign", **data))
    api.add(GIT_SINKS, sink(url, identity={"signing": {"type": kind, "secretRef": {"name": "sign"}}}, onSuccess={"tag": True}))


@pytest.mark.fault(8)
async def test_records_reverts_and_tags_are_signed_by_ssh(server: GitServer, fleet: str, api: Api, ssh_key: Path) -> None:
    before = leftovers()
    tip = server.git("fleet", "rev-parse", "main").strip()
    server.hook("fleet", "pre-receive", SIGNED_ONLY)
    signed_sink(api, fleet, "ssh", identity=ssh_key.read_text())
    api.add(CANARY_RUNS, run("r1"))
    promoted = run("r2", canary="other", outcome="Succeeded", effects=("record/fleet", "tag/fleet"), minute=1)
    promoted["spec"]["source"] = {"revision": tip, "via": "annotation"}
    api.add(CANARY_RUNS, promoted)
    async with running(api):
        await until(lambda: settled(api))
    assert {effect["state"] for name in ("r1", "r2") for effect in effects(api, name).values()} == {"Done"}
    for commit in (effects(api, "r1")["revert/fleet"]["ref"], "canary-outcomes"):
        assert verified_by_ssh(server, "fleet", commit, ssh_key)
    assert verified_by_ssh(server, "fleet", effects(api, "r2")["tag/fleet"]["ref"], ssh_key, "tag")
    assert not verified_by_ssh(server, "fleet", tip, ssh_key)  # so that the check can fail
    assert GOOD in show(server, PATH)
    assert server.git("fleet", "log", "-1", "--format=%(trailers:key=Canary-Effect,valueonly)", "main").strip() == "revert r1"
    assert leftovers() <= before


@gpg
@pytest.mark.slow
async def test_records_and_reverts_are_signed_by_gpg(server: GitServer, fleet: str, api: Api, gpg_home: Path) -> None:
    before = leftovers()
    server.hook("fleet", "pre-receive", SIGNED_ONLY)
    signed_sink(api, fleet, "gpg", **{"git.asc": (gpg_home / "git.asc").read_text(), "passphrase": "open sesame"})
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: settled(api))
    for commit in ("main", "canary-outcomes"):
        verify = ["git", "verify-commit", commit]
        env = {**os.environ, "GNUPGHOME": str(gpg_home)}
        subprocess.run(verify, cwd=server.root / "fleet.git", env=env, check=True, capture_output=True)
    assert leftovers() <= before
    agents = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "gpg-agent --homedir /tmp/canary-key-" not in agents


async def test_a_chain_of_commits_keeps_all_but_its_ids(tmp_path: Path, server: GitServer, fleet: str, ssh_key: Path) -> None:
    signer = key_signer(gpg=False, data={"identity": ssh_key.read_bytes()})
    author = Author("Böt", "bot@example.com")
    drafts = [Draft(f"subject {n}\n\nbody ä {n}\n\nCanary-Effect: revert r{n}\n", {f"f{n}.yaml": b"x\n"}, {}) for n in range(3)]
    plain, signed = Mirror(tmp_path / "a", fleet, GitAuth()), Mirror(tmp_path / "b", fleet, GitAuth(), signer=signer)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    listed = []
    for branch, mirror in (("plain", plain), ("signed", signed)):
        tip = await mirror.fetch("main")
        assert tip
        commits = await mirror.publish(branch, tip.oid, drafts, author, expected=None)
        assert len(commits) == 3
        assert server.git("fleet", "rev-parse", branch).strip() == commits[-1]
        listed.append(server.git("fleet", "log", "--format=%T %an <%ae> %cn <%ce> %B", f"main..{branch}"))
    assert listed[0] == listed[1]
    for commit in server.git("fleet", "rev-list", "main..signed").split():
        assert verified_by_ssh(server, "fleet", commit, ssh_key)
        assert "gpgsig -----BEGIN SSH SIGNATURE" in server.git("fleet", "cat-file", "commit", commit)


async def test_the_first_commit_of_a_branch_is_signed_as_well(tmp_path: Path, server: GitServer, fleet: str, ssh_key: Path) -> None:
    signer = key_signer(gpg=False, data={"identity": ssh_key.read_bytes()})
    mirror = Mirror(tmp_path, fleet, GitAuth(), signer=signer)
    await mirror.fetch("main")
    (commit,) = await mirror.publish("orphan", None, [Draft("m\n", {"x": b"y"}, {})], Author("canary", "canary@canary.dev"), expected=None)
    assert verified_by_ssh(server, "fleet", commit, ssh_key)
    assert server.git("fleet", "log", "--format=%P", "orphan").strip() == ""


def _with_passphrase(key: Path, folder: Path) -> str:
    copy = folder / "locked"
    shutil.copy(key, copy)
    copy.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "locked", "-f", str(copy)], check=True, capture_output=True)
    return copy.read_text()


@pytest.mark.parametrize("kind", ["none", "broken", "passphrase", "locked"])
async def test_a_key_that_cannot_sign_blocks_the_sink_until_it_is_mended(
    server: GitServer, fleet: str, api: Api, ssh_key: Path, tmp_path: Path, kind: str
) -> None:
    before, good = leftovers(), ssh_key.read_text()
    data = {
        "none": {"other": "x"},
        "broken": {"identity": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"},
        "passphrase": {"identity": good, "password": "x"},
        "locked": {"identity": _with_passphrase(ssh_key, tmp_path)},
    }[kind]
    signed_sink(api, fleet, "ssh", **data)
    api.add(CANARY_RUNS, run("r1"))
    clock = Clock()
    async with running(api, clock=clock) as outbox:
        await until(lambda: effects(api, "r1")["record/fleet"].get("reason") == "SigningFailed")
        effect = effects(api, "r1")["record/fleet"]
        assert effect["state"] == "Blocked"
        assert "canary-key-" not in effect["error"]
        assert "AAAA" not in effect["error"]
        assert subjects(server) == ["initial"]
        api.remove(SECRETS, NAMESPACE, "sign")
        api.add(SECRETS, secret("sign", identity=good))
        await until(lambda: not outbox._tasks)
        clock.ahead += 61
        outbox._wake.set()
        await until(lambda: settled(api))
    assert verified_by_ssh(server, "fleet", "main", ssh_key)
    assert leftovers() <= before


@gpg
@pytest.mark.parametrize("kind", ["none", "phrase", "public"])
async def test_a_gpg_key_that_cannot_sign_says_so(server: GitServer, fleet: str, api: Api, gpg_home: Path, kind: str) -> None:
    before = leftovers()
    export = ["gpg", "--homedir", str(gpg_home), "--batch", "--armor", "--export"]
    data = {
        "none": {"other": "x"},
        "phrase": {"git.asc": (gpg_home / "git.asc").read_text(), "passphrase": "shut"},
        "public": {"git.asc": subprocess.run(export, check=True, capture_output=True, text=True).stdout},
    }[kind]
    signed_sink(api, fleet, "gpg", **data)
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: effects(api, "r1")["record/fleet"].get("reason") == "SigningFailed")
    assert "shut" not in effects(api, "r1")["record/fleet"]["error"]
    assert leftovers() <= before


async def test_the_key_is_gone_when_signing_is_cut_off(tmp_path: Path, ssh_key: Path, fleet: str) -> None:
    before = leftovers()
    signer = key_signer(gpg=False, data={"identity": ssh_key.read_bytes()})
    ready = asyncio.Event()

    async def sign() -> None:
        async with signer.ready(Git(tmp_path / "x.git", fleet, GitAuth())) as git:
            (path,) = [Path(value) for key, value in git.auth.config.items() if key == "user.signingkey"]
            assert path.stat().st_mode & 0o777 == 0o600
            assert path.parent.stat().st_mode & 0o777 == 0o700
            ready.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(sign())
    await asyncio.wait_for(ready.wait(), 10)
    assert leftovers() - before
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert leftovers() <= before
    assert ssh_key.read_text().splitlines()[1] not in repr(signer)


# ------------------------------------------------------------------------------------------------------- by the forge
@pytest.mark.parametrize("dialect", [GitHubDialect, GitLabDialect, GiteaDialect], ids=lambda one: one.kind)
async def test_the_forge_makes_the_commits_where_it_signs(server: GitServer, dialect: type[Dialect]) -> None:
    async with scene(server, dialect=dialect) as one:
        one.sink(identity={"signing": {"type": "api"}})
        for number, name in enumerate(("podinfo", "other")):
            one.run(f"r{number}", "record", "revert" if name == "podinfo" else "record", canary=name, minute=number)
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        one.run("r2", "record", outcome="Succeeded", minute=5)
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        assert show(one.server, PATH, repo=one.repo) == show(one.server, PATH, repo="fleet").replace(BAD, GOOD)
        assert one.effect("revert", "r0")["ref"] == one.model.tip("main")
        assert len(records(one.server, one.repo)) == 4
        assert [message.partition("\n")[0][:12] for message in one.model.messages] == ["canary(prod/", "record(prod/"]
        pushes = [line for line in one.server.requests if line.startswith("POST") and line.endswith("receive-pack")]
        assert len(pushes) == 1  # the first commit of the records, which has no parent


async def test_a_pull_request_holds_a_commit_of_the_forge(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(identity={"signing": {"type": "api"}}, onFailure={"delivery": "pullRequest"})
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pr") == ("Waiting", "PullRequest"))
        assert len(one.model.messages) == 1
        assert one.server.git(one.repo, "rev-list", "--count", "main..canary-revert/cluster-001/prod.podinfo").strip() == "1"


async def test_a_branch_that_moves_under_the_forge_is_computed_anew(server: GitServer) -> None:
    async with scene(server, dialect=GitHubDialect) as one:
        moved = []

        def move(request: object) -> None:
            if str(request.path).endswith("graphql") and len(moved) < 2:  # type: ignore[attr-defined]
                moved.append(one.server.write(one.repo, {"README.md": f"{len(moved)}\n"}, message="faster"))

        one.model.fault = move
        one.sink(identity={"signing": {"type": "api"}}, records={"target": "none"})
        one.run("r1", "revert")
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        assert len(moved) == 2
        assert [line[:6] for line in subjects(one.server, one.repo)] == ["canary", "faster", "faster", "initia"]


async def test_a_forge_that_cannot_sign_blocks_and_says_what_can(server: GitServer) -> None:
    async with scene(server, dialect=AzureDialect) as one:
        one.sink(identity={"signing": {"type": "api"}}, records={"target": "none"})
        one.run("r1", "revert")
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("revert") == ("Blocked", "Unsupported"))
        assert "ssh or gpg" in one.effect("revert")["error"]
