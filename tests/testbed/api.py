"""A plain JSON client of the API server for the test bed itself, with keep-alive and no cache.

Tests poll; a kubectl process costs 80 ms of CPU each time. The client of the product is not used on purpose: the instrument must not
share the faults of what it measures.
"""

import http.client
import json
import ssl
import threading
from pathlib import Path
from typing import Any


class ApiError(Exception):
    """An answer of 400 or more; `status` is the HTTP code, `reason` the machine-readable word of the Status object."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class Api:
    """Requests to one API server with one bearer token; usable from several threads (a connection each)."""

    def __init__(self, *, host: str, port: int, ca: Path, token: str) -> None:
        self._address = (host, port)
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._headers = {"Authorization": f"Bearer {token}"}
        self._local = threading.local()

    def text(self, method: str, path: str, body: object | None = None, *, content_type: str = "application/json") -> str:
        """The body of the answer. Raises ApiError, and OSError when the server is not there."""
        payload = None if body is None else json.dumps(body)
        headers = self._headers | ({"Content-Type": content_type} if payload is not None else {})
        try:
            status, answer = self._once(method, path, payload, headers=headers)
        except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
            self.close()  # the server closed an idle connection, or is another one now: one more try on a fresh connection
            status, answer = self._once(method, path, payload, headers=headers)
        if status >= 400:
            raise _error(status, answer)
        return answer

    def call(self, method: str, path: str, body: object | None = None, *, content_type: str = "application/json") -> Any:
        """Like `text`, as JSON."""
        return json.loads(self.text(method, path, body, content_type=content_type))

    def get(self, path: str) -> Any:
        """The object or list at a path such as /api/v1/namespaces/x/pods."""
        return self.call("GET", path)

    def apply(self, path: str, item: dict[str, Any], *, manager: str = "testbed") -> Any:
        """Server-side apply of one object, conflicts forced."""
        return self.call("PATCH", f"{path}?fieldManager={manager}&force=true", item, content_type="application/apply-patch+yaml")

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _once(self, method: str, path: str, payload: str | None, *, headers: dict[str, str]) -> tuple[int, str]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPSConnection(*self._address, context=self._tls, timeout=30)
        try:
            connection.request(method, path, payload, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except BaseException:
            self.close()
            raise


def _error(status: int, answer: str) -> ApiError:
    try:
        said = json.loads(answer)
        return ApiError(status, said.get("reason", ""), said.get("message", answer))
    except (ValueError, AttributeError):
        return ApiError(status, "", answer[:500])
