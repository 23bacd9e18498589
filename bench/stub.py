"""A Prometheus stand-in that answers every query with one sample at once: 100, or 1 for `vector(1)` (the peer's health check).

Run as a program, so that its work is not done inside the process that measures. Plain asyncio streams: a web framework would cost more
per request than what is measured. `GET /count` answers how many queries came so far.
"""

import asyncio
import json
import re
import sys
import time
from urllib.parse import parse_qs, urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


def answer(target: str, body: str) -> dict[str, object]:
    """Prometheus' JSON for the query in a request's target or form."""
    given = parse_qs(urlsplit(target).query) | parse_qs(body)
    value = "1" if given.get("query", [""])[0].replace(" ", "") == "vector(1)" else "100"
    sample = {"metric": {}, "value": [time.time(), value]}
    return {"status": "success", "data": {"resultType": "vector", "result": [sample]}}


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
