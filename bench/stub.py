"""A Prometheus stand-in that answers every query with one sample at once: 100, or 1 for `vector(1)` (the peer's health check).

A query that groups by names which its selectors list gets one sample of 100 for each combination of them.

Run as a program, so that its work is not done inside the process that measures. Plain asyncio streams: a web framework would cost more
per request than what is measured. `GET /count` answers how many queries came so far.
"""

import asyncio
import itertools
import json
import re
import sys
import time
from urllib.parse import parse_qs, urlsplit

_BY = re.compile(r"sum by \(([^)]*)\)")
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


def answer(target: str, body: str) -> dict[str, object]:
    """Prometheus' JSON for the query in a request's target or form."""
    given = parse_qs(urlsplit(target).query) | parse_qs(body)
    query = given.get("query", [""])[0]
    value = "1" if query.replace(" ", "") == "vector(1)" else "100"
    result = [{"metric": metric, "value": [time.time(), value]} for metric in groups(query)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def groups(query: str) -> list[dict[str, str]]:
    """The labels of each series of the answer: one without labels, unless the query groups by something other than `le`."""
    found = _BY.search(query)
    labels = [label for label in re.split(r",\s*", found[1]) if label != "le"] if found else []
    return [dict(zip(labels, names, strict=True)) for names in itertools.product(*(_names(query, label) for label in labels))]


def _names(query: str, label: str) -> list[str]:
    """The alternatives of a label that is matched, or made by `label_replace` from the first group of a regular expression."""
    found = re.search(rf'"{label}", "\$1", "\w+", "\(([^)]*)\)', query) or re.search(rf'\b{label}=~"([^"]*)"', query)
    return found[1].split("|") if found else []


class Stub:
    """The server's one number."""

    def __init__(self) -> None:
        self.queries = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = (await reader.readexactly(int(length[1]))).decode() if length else ""
                text = self._say(head.split(b" ", 2)[1].decode(), body)
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _say(self, target: str, body: str) -> str:
        if target == "/count":
            return str(self.queries)
        self.queries += 1
        return json.dumps(answer(target, body))


async def main(port: int) -> None:
    async with await asyncio.start_server(Stub().serve, "127.0.0.1", port, backlog=1024) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
