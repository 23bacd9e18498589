"""What a command printed, in bounded memory: the beginning and the end, with a note on what was left out.

Keeping only the end was rejected (the first error is at the beginning), a file was rejected (read-only root,
and a runaway command would fill the disk).
"""

from __future__ import annotations


class CappedOutput:
    """Collects bytes; keeps `limit` of them (at least 2): the first half as head, the newest half as tail."""

    def __init__(self, limit: int) -> None:
        if limit < 2:
            raise ValueError("the limit of the output must be at least 2 bytes")
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def write(self, data: bytes) -> None:
        """Take the next bytes; never refuses."""
        self.total += len(data)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Trimmed only at twice the size, so that a chatty command costs no copy per line.
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: -self._tail_limit]

    @property
    def left_out(self) -> int:
        """Bytes that were printed and are not kept."""
        return self.total - len(self._head) - min(len(self._tail), self._tail_limit)

    def text(self) -> str:
        """Head and tail as text; bytes that are no UTF-8 are replaced."""
        gap = f"\n... {self.left_out} bytes left out ...\n".encode() if self.left_out else b""
        return (bytes(self._head) + gap + bytes(self._tail[-self._tail_limit :])).decode(errors="replace")
