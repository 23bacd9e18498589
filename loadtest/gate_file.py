"""Gates in a file of `--state-dir`: they survive restarts, and replicas that share the directory agree.

The file is the truth: it is read again whenever it changed, written beside and renamed over, under a file lock.
A file that cannot be understood stops the process at start and answers every later request with an error: taking it
for empty would close approvals in silence, guessing could open one. SQLite was rejected: its locking on network
volumes is worse than one rename, and a person must be able to read and mend the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from loadtest.gates import Gate, GateError, GateKey
from loadtest.units import format_time, parse_time

_VERSION: Final = 1
_LOCK_SECONDS: Final = 5.0


class FileKeeping:
    """Keeps gates in `<directory>/gates.json`; made with its directory when absent."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "gates.json"
        self._lock_path = directory / "gates.lock"
        self._seen: tuple[int, int, int] | None = None
        self._gates: Mapping[GateKey, Gate] = {}

    def prepare(self) -> None:
        """Prove at start that the directory can be written and the file be read. Raises GateError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GateError(f"the state directory {self._path.parent} cannot be made: {error.strerror}") from error
        with self.exclusive():
            self.read()

    def read(self) -> Mapping[GateKey, Gate]:
        """All records; no file means that no gate was ever set. Raises GateError when the file is damaged."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                # The rename of every write gives a new inode; a hand edit moves the time.
                stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
                if stamp != self._seen:
                    self._gates, self._seen = _parse(file.read()), stamp
        except FileNotFoundError:
            self._gates, self._seen = {}, None
        except OSError as error:
            raise GateError(f"the gate file {self._path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise GateError(
                f"the gate file {self._path} is damaged: {error}; restore it, or move it away to start with every gate closed"
            ) from error
        return self._gates

    def write(self, gates: Mapping[GateKey, Gate]) -> None:
        """Write beside, flush to disk, rename over. Raises GateError and leaves the old file as it was."""
        document = {"version": _VERSION, "gates": [_record(gate) for _, gate in sorted(gates.items())]}
        temporary = ""
        try:
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".gates-", suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._path)
            self._sync_directory()
        except OSError as error:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
            raise GateError(f"the gate file {self._path} cannot be written: {error.strerror}") from error

    def _sync_directory(self) -> None:
        handle = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock file; waits up to 5 s for another process. Raises GateError."""
        try:
            handle = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise GateError(f"the state directory {self._path.parent} cannot be written: {error.strerror}") from error
        try:
            self._wait_for_lock(handle)
            yield
        finally:
            os.close(handle)

    def _wait_for_lock(self, handle: int) -> None:
        until = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise GateError(f"{self._lock_path} is held by another process for more than {_LOCK_SECONDS:.0f} s") from None
                time.sleep(0.01)
            except OSError as error:
                raise GateError(f"{self._lock_path} cannot be locked: {error.strerror}") from error
            else:
                return


def _record(gate: Gate) -> dict[str, Any]:
    return {
        **gate.key._asdict(),
        "open": gate.open,
        "changedAt": format_time(gate.changed_at),
        "expiresAt": format_time(gate.expires_at) if gate.expires_at else None,
        "by": gate.by,
        "reason": gate.reason,
        "remote": gate.remote,
    }


def _parse(raw: bytes) -> dict[GateKey, Gate]:
    document = json.loads(raw)
    if not isinstance(document, dict) or document.get("version") != _VERSION or not isinstance(document.get("gates"), list):
        raise ValueError(f"it is no object with version {_VERSION} and a list of gates")
    gates: dict[GateKey, Gate] = {}
    for position, record in enumerate(document["gates"]):
        gate = _parse_gate(record, where=f"gates[{position}]")
        if gate.key in gates:
            raise ValueError(f"gates[{position}]: {gate.key} is there twice")
        gates[gate.key] = gate
    return gates


def _parse_gate(record: Any, *, where: str) -> Gate:
    if not isinstance(record, dict):
        raise ValueError(f"{where} is no object")  # noqa: TRY004 - a damaged file, not a caller's mistake
    texts = {key: record.get(key, "") for key in ("kind", "namespace", "name", "gate", "by", "reason", "remote")}
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(record.get("open"), bool):
        raise ValueError(f"{where} has a value of the wrong type")
    try:
        return Gate(
            key=GateKey.of(texts["kind"], namespace=texts["namespace"], name=texts["name"], gate=texts["gate"]),
            open=record["open"],
            changed_at=_moment(record.get("changedAt")),
            expires_at=None if record.get("expiresAt") is None else _moment(record["expiresAt"]),
            by=texts["by"],
            reason=texts["reason"],
            remote=texts["remote"],
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _moment(text: Any) -> datetime:
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no time")  # noqa: TRY004 - a damaged file, not a caller's mistake
    return parse_time(text)
