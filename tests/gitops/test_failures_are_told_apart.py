"""What git prints, and what follows from it; credentials never appear in it."""

from __future__ import annotations

import pytest

from canary.api.errors import InvalidObject, Problem
from canary.core.errors import Conflict, Forbidden, NotFound, Rejected, Retryable
from canary.gitops.failures import SHOWN, Failure, GitFailed, Reaction, as_failure, classify, scrub

SAID = {
    "! refs/heads/main:refs/heads/main [rejected] (stale info)\nerror: failed to push some refs": ("Stale", Reaction.RECOMPUTE),
    "! [rejected] (non-fast-forward)": ("Stale", Reaction.RECOMPUTE),
    "remote: error: cannot lock ref 'refs/heads/main': is at a but expected b\n! [remote rejected] (failed to update ref)": ("Stale", Reaction.RECOMPUTE),
    "remote: error: cannot lock ref 'refs/heads/x': reference already exists": ("Stale", Reaction.RECOMPUTE),
    "error: cannot lock ref 'refs/canary/x': Unable to create '/m/refs/canary/x.lock': File exists.": ("Local", Reaction.BACK_OFF),
    "fatal: Unable to create '/m/shallow.lock': File exists.": ("Local", Reaction.BACK_OFF),
    "fatal: write error: No space left on device": ("Local", Reaction.BACK_OFF),
    "fatal: not a git repository: '/m/mirror.git'": ("Local", Reaction.BACK_OFF),
    "remote: error: GH006: Protected branch update failed for refs/heads/main.\n! [remote rejected] (protected branch hook declined)": ("Protected", Reaction.BLOCKED),
    "remote: GitLab: You are not allowed to push code to protected branches on this project.\n! [remote rejected] (pre-receive hook declined)": ("Protected", Reaction.BLOCKED),
    "remote: Gitea: Not allowed to push to protected branch main\n! [remote rejected] (pre-receive hook declined)": ("Protected", Reaction.BLOCKED),
    "remote: Gitea: branch main is protected from unverified commit abc\n! [remote rejected] (pre-receive hook declined)": ("SignatureRequired", Reaction.BLOCKED),
    "remote: error: GH013: Repository rule violations found\nremote: - Commits must have verified signatures.": ("SignatureRequired", Reaction.BLOCKED),
    "! [remote rejected] main -> main (shallow update not allowed)": ("Refused", Reaction.BLOCKED),
    "fatal: could not read Username for 'http://h': terminal prompts disabled": ("Auth", Reaction.BLOCKED),
    "fatal: Authentication failed for 'https://h/r.git/'": ("Auth", Reaction.BLOCKED),
    "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.": ("Auth", Reaction.BLOCKED),
    "Host key verification failed.\nfatal: Could not read from remote repository.": ("Auth", Reaction.BLOCKED),
    "fatal: unable to access 'https://h/r/': The requested URL returned error: 403": ("Forbidden", Reaction.BLOCKED),
    "fatal: repository 'https://h/r/' not found": ("Forbidden", Reaction.BLOCKED),
    "fatal: unable to access 'https://h/r/': The requested URL returned error: 301": ("Moved", Reaction.BLOCKED),
    "fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none CRLfile: none": ("Certificate", Reaction.BLOCKED),
    "fatal: unable to access 'https://h/r/': The requested URL returned error: 429": ("Throttled", Reaction.BACK_OFF),
    "fatal: unable to access 'https://h/r/': The requested URL returned error: 503": ("Unreachable", Reaction.BACK_OFF),
    "fatal: unable to access 'http://h/': Failed to connect to h port 80 after 0 ms: Couldn't connect to server": ("Unreachable", Reaction.BACK_OFF),
    "fatal: unable to access 'http://h/': Could not resolve host: h": ("Unreachable", Reaction.BACK_OFF),
    "fatal: unable to access 'http://h/': Empty reply from server": ("Unreachable", Reaction.BACK_OFF),
    "error: RPC failed; HTTP 502\nfatal: early EOF": ("Unreachable", Reaction.BACK_OFF),
    "ssh: connect to host h port 22: Connection timed out": ("Unreachable", Reaction.BACK_OFF),
    "something nobody has seen before": ("Unknown", Reaction.BACK_OFF),
}  # fmt: skip


@pytest.mark.parametrize("text", SAID)
def test_prose_has_a_class(text: str) -> None:
    failure = classify(text)
    assert (failure.reason, failure.reaction) == SAID[text]


def test_only_refused_pushes_are_of_the_push() -> None:
    of_the_push = {classify(text).reason for text in SAID if classify(text).of_the_push}
    assert of_the_push == {"Protected", "SignatureRequired", "Refused"}


def test_secrets_control_characters_and_noise_are_not_shown() -> None:
    text = "To https://bob:hunter2@h/r\nremote: \x1b[31mno\x1b[0m tok-en here\nhint: pull first\nssh://eve:pw@h/x\u202eDone\nDone\n"
    shown = scrub(text, secrets=["tok-en", "x"])
    assert shown == "remote:  [31mno [0m *** here; ssh://***@h/x Done"
    assert len(scrub("a" * 5000 + "b" * 5000)) == SHOWN
    assert scrub("a" * 5000 + "the end").endswith("the end")


@pytest.mark.parametrize(
    ("error", "reason", "reaction"),
    [
        (GitFailed(Failure("Auth", Reaction.BLOCKED, "x")), "Auth", Reaction.BLOCKED),
        (NotFound("secrets 'git' not found"), "NotFound", Reaction.BLOCKED),
        (Forbidden("no"), "Forbidden", Reaction.BLOCKED),
        (Rejected("no", hint="do"), "Rejected", Reaction.BLOCKED),
        (Conflict("x"), "Conflict", Reaction.BACK_OFF),
        (Retryable("x"), "Unavailable", Reaction.BACK_OFF),
        (OSError(28, "No space left on device"), "Local", Reaction.BACK_OFF),
        (InvalidObject("GitSink", "n", "x", [Problem("spec.cluster", "is missing")]), "InvalidSpec", Reaction.BLOCKED),
        (KeyError("secret-text"), "Unexpected", Reaction.BACK_OFF),
    ],
)
def test_every_error_has_a_class(error: Exception, reason: str, reaction: Reaction) -> None:
    failure = as_failure(error)
    assert (failure.reason, failure.reaction) == (reason, reaction)
    assert "secret-text" not in failure.text
