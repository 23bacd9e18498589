"""Finds helm and renders charts with it. A renderer of our own was rejected: it would prove nothing about helm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.testbed.absence import absent
from tests.testbed.documents import documents

ROOT = Path(__file__).resolve().parents[2]


def find_helm() -> str:
    """CANARY_HELM, the test bed's cache, or PATH. Skips where there is none; in CI that is a failure."""
    candidates = [os.environ.get("CANARY_HELM"), str(Path.home() / ".cache" / "canary-testbed" / "bin" / "helm"), "helm"]
    for candidate in candidates:
        if candidate and (found := shutil.which(candidate)):
            return found
    absent("no helm: set CANARY_HELM, or build the test bed's tools")


class Chart:
    """One chart of this repository."""

    def __init__(self, name: str, home: Path) -> None:
        self.directory = ROOT / "charts" / name
        self._home = home
        self._helm = find_helm()
        # No configuration, plugin, cache or cluster of the person who runs the tests.
        homes = {f"HELM_{kind}_HOME": str(home / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        self._environment = {**os.environ, **homes, "KUBECONFIG": str(home / "none")}

    def run(self, *arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """Run helm with these values on its standard input."""
        flags = ["--values", "-"] if values is not None else []
        return subprocess.run(
            [self._helm, *arguments, *flags],
            input=json.dumps(values) if values is not None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=self._environment,
        )

    def render(
        self, values: dict[str, Any] | None = None, *, release: str = "load", directory: Path | None = None
    ) -> dict[tuple[str, str], Any]:
        """The objects that an installation makes, by kind and name."""
        found = self.run("template", release, str(directory or self.directory), "--namespace", "prod", values=values or {})
        assert found.returncode == 0, found.stderr
        objects = documents(found.stdout)
        by_name = {(item["kind"], item["metadata"]["name"]): item for item in objects}
        assert len(by_name) == len(objects), "two objects of one name"
        return by_name

    def refusal(self, values: dict[str, Any]) -> str:
        """What helm says to values that it must refuse."""
        found = self.run("template", "load", str(self.directory), values=values)
        assert found.returncode != 0
        return found.stderr

    def notes(self, values: dict[str, Any] | None = None) -> str:
        """What a person reads after the installation.

        `helm install --dry-run` would ask a cluster, so a copy of the chart renders the notes into an object.
        """
        copy = self._home / "copy"
        if not copy.exists():
            shutil.copytree(self.directory, copy)
            (copy / "templates" / "notes.yaml").write_text(
                'kind: Notes\nmetadata: {name: notes}\ntext: {{ include (print .Template.BasePath "/NOTES.txt") . | quote }}\n'
            )
        return self.render(values, directory=copy)["Notes", "notes"]["text"]
