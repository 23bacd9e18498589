"""The world that the peer asks: one HTTP server that is Prometheus, every webhook, and the receiver of events, and remembers all of it.

Events come by the peer's own event webhook and not from the API server, which counts repeats instead of keeping them, and loses their
order. The webhook is called inside the tick, so calls and events are one stream.
"""

import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.traces.clock import Rhythm
from bench.traces.script import GOOD, Answer, Script

PORT = 9090
NAMESPACE = "traces"
PATIENCE = 6.0
"""Seconds until a `timeout` answers: longer than the peer waits for Prometheus (5 s); hooks of scripts have a shorter limit of their own."""
_OWNERS = (
    re.compile(rf'envoy_cluster_name=~"{NAMESPACE}_([a-z0-9-]+?)-canary_\['),
    re.compile(r'destination_workload=~"([^"]+)"'),
    re.compile(r'kubernetes_pod_name=~"([a-z0-9-]+?)-\['),
)
_OWN = re.compile(r'trace\{run="([^"]+)",metric="([^"]+)"\}')


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was heard or seen of a run. `kind`: call, event, state, route, seen."""

    at: float
    run: str
    kind: str
    what: tuple[Any, ...]


class Journal:
    """All entries, and the rhythm of the ticks. Safe to use from several threads."""

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        self.scripts = scripts
        self.entries: list[Entry] = []
        self.rhythm: Rhythm | None = None
        self.released: dict[str, int] = {}
        """Which tick of its rhythm is tick 0 of a run."""
        self.phases: dict[str, str] = {}
        """The phase of each canary, as last seen."""
        self._lock = threading.Lock()

    def note(self, run: str, kind: str, *what: Any) -> float:
        """Add an entry of now; the moment."""
        with self._lock:
            at = time.monotonic()
            if run in self.scripts:
                if kind in {"call", "event"} and self.rhythm is None:
                    self.rhythm = Rhythm(at)
                if kind == "state":
                    self.phases[run] = what[0]
                self.entries.append(Entry(at, run, kind, what))
            return at

    def tick(self, run: str, at: float) -> int:
        """The tick of a run at a moment; negative before its release."""
        zero = self.released.get(run)
        return -1 if self.rhythm is None or zero is None else self.rhythm.number(at) - zero

    def answer(self, run: str, source: str, at: float) -> Answer | None:
        """What the script says now. Before the release all is well."""
        script = self.scripts.get(run)
        tick = self.tick(run, at)
        return None if script is None or tick < 0 else script.answer(source, tick)


class Server(ThreadingHTTPServer):
    """Serves in a thread until `close`."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, journal: Journal) -> None:
        super().__init__(("127.0.0.1", PORT), _Handler)
        self.journal = journal
        self._thread = threading.Thread(target=self.serve_forever, name="scripted", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    wbufsize = -1  # head and body in one write, or each answer waits 40 ms for an acknowledgement
    server: Server

    def do_GET(self) -> None:
        self._query(parse_qs(urlsplit(self.path).query))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        if self.path == "/events":
            self._event(json.loads(body))
        elif self.path.startswith("/hook/"):
            self._hook(json.loads(body))
        else:
            self._query(parse_qs(body))

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _event(self, said: dict[str, Any]) -> None:
        about = said["metadata"]
        self.server.journal.note(said["name"], "event", about["eventType"], said["phase"], about["eventMessage"])
        self._say(200, "ok")

    def _hook(self, said: dict[str, Any]) -> None:
        _, _, run, name = self.path.split("/")
        journal = self.server.journal
        at = journal.note(run, "call", "hook", name, said["phase"])
        wish = journal.answer(run, name, at)
        if wish == "timeout":
            time.sleep(PATIENCE)
        self._say(200 if wish is None or isinstance(wish, str) else int(wish), "scripted answer")

    def _query(self, given: Mapping[str, list[str]]) -> None:
        query = given.get("query", [""])[0]
        found = source_of(query)
        if found is None:
            self._sample("1")  # the peer asks for vector(1) to see whether anybody is there
            return
        run, metric = found
        journal = self.server.journal
        at = journal.note(run, "call", "metric", metric)
        wish = journal.answer(run, metric, at)
        if wish is None:
            wish = GOOD.get(metric, 0.0)
        if wish == "timeout":
            time.sleep(PATIENCE)
        if wish in {"timeout", "error"}:
            self._say(500, "scripted error")
        elif wish == "empty":
            self._sample(None)
        else:
            seconds = "http_request_duration_seconds_bucket" in query
            self._sample(str(float(wish) / 1000 if seconds else wish))

    def _sample(self, value: str | None) -> None:
        rows = [] if value is None else [{"metric": {}, "value": [time.time(), value]}]
        self._say(200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}}))

    def _say(self, status: int, body: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())
            self.wfile.flush()
        except OSError:
            self.close_connection = True  # it did not wait, as the script wants


def source_of(query: str) -> tuple[str, str] | None:
    """The run and the metric that a query is about; None when it is about none."""
    if own := _OWN.search(query):
        return own[1], own[2]
    for owner in _OWNERS:
        if found := owner.search(query):
            return found[1], "request-duration" if "histogram_quantile" in query else "request-success-rate"
    return None
