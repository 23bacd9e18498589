"""The load tester as a process, its gates, and the names that its commands call."""

import http.client
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.e2e.operators import free_port
from tests.testbed.process import Process
from tests.testbed.waiting import until


class LoadTester:
    """`python -m loadtest`. With `http_proxy` its commands reach Services by name (`names.Names`)."""

    def __init__(self, folder: Path, *, http_proxy: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        env = {"http_proxy": http_proxy, "no_proxy": "127.0.0.1,localhost"} if http_proxy else {}
        command = [sys.executable, "-m", "loadtest", f"-port={self.port}", "-host=127.0.0.1", f"-state-dir={folder}"]
        self.process = Process("load-tester", command, log=folder / "load-tester.log", env=env)

    def wait_ready(self) -> None:
        """Until it answers."""
        until("the load tester", lambda: self._call("GET", "/gate/approve")[0] == 200, 90, alarm=self.process.check)

    def turn(self, gate: str, *, name: str, namespace: str, **metadata: str) -> None:
        """`gate/open`, `gate/close`, `rollback/open` or `rollback/close`, as people do with curl."""
        body = {"name": name, "namespace": namespace} | ({"metadata": metadata} if metadata else {})
        status, text = self._call("POST", f"/{gate}", body)
        assert status == 202, f"{gate}: {status} {text}"

    def tasks(self) -> list[dict[str, Any]]:
        """What ran, and how it ended."""
        found = json.loads(self._call("GET", "/tasks")[1])
        return list(found["tasks"] if isinstance(found, dict) else found)

    def stop(self) -> None:
        """SIGTERM."""
        self.process.stop(grace=5)

    def _call(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
