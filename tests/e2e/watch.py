"""What one object looked like, and when: a watch of the API server, kept in memory.

Polling would miss phases that last milliseconds, would blur the moment at which weights moved, and would cost the shared machine more
than the operator under test.
"""

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from tests.testbed.cluster import Cluster
from tests.testbed.controlplane import API_HOST, API_PORT

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """One state of the object; `at` is `time.monotonic()`, `item` is None once it is deleted."""

    at: float
    item: Item | None


class Watch:
    """Follows one object until stopped. `seen` grows; readers copy it."""

    def __init__(self, cluster: Cluster, collection: str, name: str) -> None:
        self._path = f"{collection}?watch=1&fieldSelector=metadata.name%3D{name}"
        self._headers = {"Authorization": f"Bearer {cluster.keys.admin_token}"}
        self._tls = ssl.create_default_context(cafile=str(cluster.keys.authority.root.certificate))
        self.seen: list[Seen] = []
        self._stopped = threading.Event()
        self._began = threading.Event()
        self._connection: http.client.HTTPSConnection | None = None
        self._thread = threading.Thread(target=self._work, name=f"watch {name}", daemon=True)

    def start(self) -> Self:
        """Returns once the watch is under way."""
        self._thread.start()
        assert self._began.wait(60), f"no watch of {self._path}"
        return self

    def stop(self) -> None:
        """End it."""
        self._stopped.set()
        if self._connection is not None and self._connection.sock is not None:
            self._connection.sock.close()

    @property
    def latest(self) -> Item | None:
        """The object as it is now; None while it does not exist."""
        return self.seen[-1].item if self.seen else None

    def history(self, pick: Callable[[Item], Any], *, since: float = 0.0) -> list[tuple[float, Any]]:
        """(moment, value) whenever `pick` of the object gave another value than before."""
        found: list[tuple[float, Any]] = []
        for seen in list(self.seen):
            if seen.item is None or seen.at < since:
                continue
            value = pick(seen.item)
            if not found or found[-1][1] != value:
                found.append((seen.at, value))
        return found

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except (OSError, ValueError, http.client.HTTPException, AttributeError):
                time.sleep(0.05)  # the API server went away for a moment, or `stop` closed the socket under us

    def _follow(self) -> None:
        """From the objects that exist now (a watch without a version begins with them) until the server ends the stream."""
        self._connection = http.client.HTTPSConnection(API_HOST, API_PORT, context=self._tls, timeout=600)
        try:
            self._connection.request("GET", self._path, headers=self._headers)
            answer = self._connection.getresponse()
            if answer.status != 200:
                raise ValueError(f"{self._path}: {answer.status} {answer.read()[:300]!r}")
            self._began.set()
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                self._note(None if event["type"] == "DELETED" else event["object"])
        finally:
            self._connection.close()

    def _note(self, item: Item | None) -> None:
        version = item["metadata"]["resourceVersion"] if item else ""
        known = self.latest
        if known is None or item is None or known["metadata"]["resourceVersion"] != version:
            self.seen.append(Seen(time.monotonic(), item))
