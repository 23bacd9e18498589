"""Puts our own load generator on PATH under the name `hey` where the real program is absent.

Rewriting command lines was rejected: `hey` also stands in pipes, loops and scripts, which only PATH reaches.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtest.logs import log

_SCRIPT = """#!/bin/sh
PYTHONPATH={root}${{PYTHONPATH:+:$PYTHONPATH}}
export PYTHONPATH
exec {python} -P -m loadtest.hey "$@"
"""


class HeyShim:
    """While entered, `path` is a PATH on which `hey` is found: the real one, or ours in a directory of its own."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._directory: str | None = None

    def __enter__(self) -> Self:
        if shutil.which("hey", path=self.path) is None:
            try:
                self._directory = tempfile.mkdtemp(prefix="loadtest-bin-")
                self._write(Path(self._directory) / "hey")
            except OSError as error:
                log.warning("no hey on PATH and none can be put there; commands with hey will fail", extra={"error": str(error)})
            else:
                self.path = os.pathsep.join([self._directory, self.path])
        return self

    def _write(self, file: Path) -> None:
        root = Path(__file__).resolve().parent.parent
        file.write_text(_SCRIPT.format(root=shlex.quote(str(root)), python=shlex.quote(sys.executable)), encoding="utf-8")
        file.chmod(0o755)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
