"""Every change of one kind of object, as it arrives, without holes."""

import http.client
import json
import ssl
import threading
from collections.abc import Callable
from typing import Any

from tests.testbed.cluster import Cluster
from tests.testbed.controlplane import API_HOST, API_PORT

Take = Callable[[dict[str, Any]], None]


class Watch:
    """Calls `take` with each new state of each object of a collection, from its construction until `close`."""

    def __init__(self, cluster: Cluster, path: str, take: Take) -> None:
        self.problem = ""
        """Why the watch ended by itself; empty while it runs."""
        self._path, self._take = path, take
        self._version = cluster.api.get(f"{path}?limit=1")["metadata"]["resourceVersion"]
        self._tls = ssl.create_default_context(cafile=str(cluster.keys.authority.root.certificate))
        self._headers = {"Authorization": f"Bearer {cluster.keys.admin_token}"}
        self._closing = False
        self._connection = self._connect()
        threading.Thread(target=self._run, daemon=True, name=f"watch {path}").start()

    def close(self) -> None:
        """End."""
        self._closing = True
        if self._connection.sock is not None:
            self._connection.sock.close()

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(API_HOST, API_PORT, context=self._tls)

    def _run(self) -> None:
        """The server drops a watcher whose buffer is full; it goes on where it was."""
        try:
            while not self._closing:
                self._read()
                self._connection.close()
                self._connection = self._connect()
        except Exception as error:
            self.problem = "" if self._closing else f"{type(error).__name__}: {error}"

    def _read(self) -> None:
        query = f"watch=true&timeoutSeconds=3600&resourceVersion={self._version}"
        self._connection.request("GET", f"{self._path}?{query}", headers=self._headers)
        for line in self._connection.getresponse():
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise ValueError(event["object"].get("message"))
            self._version = event["object"]["metadata"]["resourceVersion"]
            self._take(event["object"])
