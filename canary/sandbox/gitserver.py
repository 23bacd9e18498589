"""A Git server on the loopback: `git http-backend` behind a small threaded HTTP server.

The same program that real servers run, so protocol, hooks and refusals are real. `fault` lets a test answer in its place (401, 503, a cut
connection) or act around it; `user` turns Basic authentication on.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

Fault = Callable[["Handler"], bool]
"""Called before each request; True when it has answered, or cut the connection, itself."""

_CLEAN = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C", "PATH": os.environ.get("PATH", "")}


class GitServer:
    """Serves the bare repositories under `root` for reading and writing."""

    def __init__(self, root: Path, *, user: tuple[str, str] | None = None, fault: Fault | None = None, port: int = 0) -> None:
        self.root = root
        self.user = user
        self.fault = fault
        self.requests: list[str] = []
        self._port = port
        self._server: http.server.ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen (again, on the same port as before)."""
        self.root.mkdir(parents=True, exist_ok=True)
        server = _Server(("127.0.0.1", self._port), Handler)
        server.git = self
        self._server, self._port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name="git server").start()

    def stop(self) -> None:
        """Stop listening; repositories stay."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def create(self, name: str, files: Mapping[str, str | bytes], *, branch: str = "main") -> str:
        """A bare repository with one commit; its URL."""
        bare = self.root / f"{name}.git"
        self._git("init", "-q", "--bare", f"--initial-branch={branch}", str(bare), cwd=self.root)
        for key, value in (("http.receivepack", "true"), ("uploadpack.allowFilter", "true"), ("uploadpack.allowAnySHA1InWant", "true")):
            self._git("config", key, value, cwd=bare)
        self.write(name, files, branch=branch, message="initial")
        return f"{self.url}/{name}.git"

    def write(self, name: str, files: Mapping[str, str | bytes | None], *, message: str, branch: str = "main") -> str:
        """A commit on the branch (made when absent), as somebody who pushes would leave it; its id. None removes a file."""
        at = int(time.time())
        who = f"dev <dev@example.com> {at} +0000"
        head = [f"commit refs/heads/{branch}", f"author {who}", f"committer {who}", f"data {len(message.encode())}", message]
        if self._exists(name, branch):
            head.append(f"from refs/heads/{branch}^0")
        stream = [("\n".join(head) + "\n").encode()]
        for path, content in files.items():
            if content is None:
                stream.append(f"D {path}\n".encode())
                continue
            data = content.encode() if isinstance(content, str) else content
            stream.append(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
        self._git("fast-import", "--quiet", cwd=self.root / f"{name}.git", stdin=b"".join(stream))
        return self.git(name, "rev-parse", f"refs/heads/{branch}").strip()

    def _exists(self, name: str, branch: str) -> bool:
        return bool(self.git(name, "for-each-ref", f"refs/heads/{branch}").strip())

    def git(self, name: str, *arguments: str) -> str:
        """Run git in a bare repository; its output."""
        return self._git(*arguments, cwd=self.root / f"{name}.git")

    def hook(self, name: str, kind: str, script: str | None) -> None:
        """Install (or, with None, remove) a hook such as pre-receive."""
        path = self.root / f"{name}.git" / "hooks" / kind
        if script is None:
            path.unlink(missing_ok=True)
            return
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @staticmethod
    def _git(*arguments: str, cwd: Path, stdin: bytes = b"") -> str:
        run = subprocess.run(["git", *arguments], cwd=cwd, env=_CLEAN, capture_output=True, check=False, input=stdin)
        if run.returncode:
            raise RuntimeError(f"git {' '.join(arguments)}: {run.stderr.decode(errors='replace').strip()}")
        return run.stdout.decode(errors="replace")


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    git: GitServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """Passes a request to `git http-backend` as CGI."""

    protocol_version = "HTTP/1.1"

    @property
    def git(self) -> GitServer:
        """The server that this request came to."""
        assert isinstance(self.server, _Server)
        return self.server.git

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a whole response."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        self.git.requests.append(f"{self.command} {self.path}")
        if self.git.fault and self.git.fault(self):
            return
        if self.git.user and not self._authorised():
            self._body()
            self.answer(401, b"who are you?\n", {"WWW-Authenticate": 'Basic realm="git"'})
            return
        self.backend()

    do_GET = do_POST = _serve  # noqa: N815 - the names that http.server calls

    def backend(self) -> None:
        """Let git answer."""
        self.answer(*self.obey())

    def obey(self) -> tuple[int, bytes, dict[str, str]]:
        """Let git do what is asked, and keep its answer: status, body, headers."""
        path, _, query = self.path.partition("?")
        env = {
            **_CLEAN,
            "GIT_PROJECT_ROOT": str(self.git.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": unquote(path),
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": self.git.user[0] if self.git.user else "dev",
        }
        body = self._body()
        env["CONTENT_LENGTH"] = str(len(body))
        run = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False)
        head, _, out = run.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        return status, out, headers

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _authorised(self) -> bool:
        assert self.git.user is not None
        expected = base64.b64encode(":".join(self.git.user).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: requests are kept in `requests`."""
