"""The other side, in a process of its own: a Git server over HTTP, and the people who commit to its repository.

Apart from the worker, so that its memory and its CPU are not counted as the worker's. `git http-backend` answers, as in the tests; what the server does
besides is to note when each push was applied. Commands come as lines of JSON, and each is answered by one line.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.git.figures import Push, Told
from canary.sandbox.gitserver import GitServer, Handler

NAME = "monorepo"
TRIES = 20


class Server:
    """In the child: serves `root` and keeps the pushes."""

    def __init__(self, root: Path) -> None:
        self.pushes: list[Push] = []
        self.fetches = self.attempts = 0
        self._git = GitServer(root, fault=self._watch)

    def serve(self) -> None:
        """Until standard input ends."""
        self._git.start()
        self._say({"url": self._git.url})
        for line in sys.stdin:
            self._say(self._obey(json.loads(line)))
        self._git.stop()

    def _obey(self, command: Mapping[str, Any]) -> dict[str, Any]:
        if files := command.get("commit"):
            return {"commit": self._commit(files, command["message"])}
        told = {"pushes": [[one.branch, one.commit, one.at] for one in self.pushes], "fetches": self.fetches, "attempts": self.attempts}
        self.pushes, self.fetches, self.attempts = [], 0, 0
        return told

    def _commit(self, files: Mapping[str, str], message: str) -> str:
        """As often as it takes: a push may come between reading the branch and moving it."""
        for _ in range(TRIES):
            with contextlib.suppress(RuntimeError):
                return self._git.write(NAME, files, message=message)
        return self._git.write(NAME, files, message=message)

    def _watch(self, handler: Handler) -> bool:
        """Answers pushes in the place of the server, to see what came of them.

        A push whose lease does not hold is given up by the client when it has seen the refs, so it is one question without a push that follows.
        """
        self.fetches += handler.command == "POST" and handler.path.endswith("/git-upload-pack")
        self.attempts += handler.command == "GET" and handler.path.endswith("service=git-receive-pack")
        if handler.command != "POST" or not handler.path.endswith("/git-receive-pack"):
            return False
        answer = handler.obey()
        at = time.monotonic()
        for branch in re.findall(rb"ok refs/heads/([^\s\x00]+)", answer[1]):
            self.pushes.append(Push(branch.decode(), self._head(branch.decode()), at))
        handler.answer(*answer)
        return True

    def _head(self, branch: str) -> str:
        return (self._git.root / f"{NAME}.git" / "refs" / "heads" / branch).read_text().strip()

    @staticmethod
    def _say(what: Mapping[str, Any]) -> None:
        print(json.dumps(what), flush=True)


class Ground:
    """In the parent: the child, and what is asked of it. Times are of the clock that all processes share (CLOCK_MONOTONIC)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        command = [sys.executable, "-m", "bench.git.ground", str(root)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"{self._answer()['url']}/{NAME}.git"

    @property
    def process(self) -> int:
        """Of the server."""
        return self._child.pid

    def commit(self, files: Mapping[str, str], message: str) -> str:
        """Somebody pushes this to main; the commit."""
        return str(self._ask({"commit": dict(files), "message": message})["commit"])

    def told(self) -> Told:
        """What the server has seen since the last time."""
        found = self._ask({})
        return Told(tuple(Push(*one) for one in found["pushes"]), found["fetches"], found["attempts"])

    def git(self, *arguments: str) -> str:
        """What git says of the repository on the server."""
        return subprocess.run(
            ["git", "-C", str(self.root / f"{NAME}.git"), *arguments], check=True, capture_output=True, text=True, errors="replace"
        ).stdout

    def close(self) -> None:
        """End the child."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(timeout=20)

    def _ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(command) + "\n")
        self._child.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise OSError("the Git server ended by itself; its complaint is above")
        found: dict[str, Any] = json.loads(line)
        return found


if __name__ == "__main__":
    Server(Path(sys.argv[1])).serve()
