"""A Prometheus that answers what a test says, in the place of the one that the releases of this folder have nothing to ask."""

from __future__ import annotations

import http.server
import json
import threading
import time
import urllib.parse
from typing import Any


class Errors:
    """Answers every query with the share of errors of the application that it names: 0 until `share` says otherwise."""

    def __init__(self) -> None:
        self.share: dict[str, float] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(urllib.parse.urlsplit(self.path).query)

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

            def _answer(self, form: str) -> None:
                query = urllib.parse.parse_qs(form).get("query", ["vector(1)"])[0]
                value = next((share for app, share in outer.share.items() if f'"{app}"' in query), 0.0 if "vector" not in query else 1.0)
                result = [{"metric": {}, "value": [time.time(), str(value)]}]
                body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Silence."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True, name="prometheus").start()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def check(app: str) -> dict[str, Any]:
    """A check of a Canary that asks for it."""
    return {"name": "errors", "interval": "10s", "query": f'errors{{app="{app}"}}', "thresholdRange": {"max": 1}}
