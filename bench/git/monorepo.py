"""A repository of the size that hurts: a fifth of its files deploy apps by kustomize, the rest is what else lies in such a repository.

Every app has a base and two overlays, and the overlay `prod` says its tag, so that all kustomizations must be known before anybody can say where the image
of one app is written. Its older history has one commit every ten minutes, as a busy team makes. Made once, by `fast-import`, and copied for each run.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VERSION = 3
"""Changes with what is generated, so that an older cache is not taken for it."""
PER_APP = 8
SHARE = 20
"""Files of the repository for each app."""
FIRST = "6.0.0"
HISTORY, PACE = 300, 600
"""Commits before ours, and the seconds between them."""
_WORDS = (
    "ledger",
    "orders",
    "stock",
    "billing",
    "search",
    "mail",
    "fraud",
    "maps",
    "press",
    "quota",
    "risk",
    "seats",
    "tax",
    "video",
    "wallet",
)
CONFIG = {
    "http.receivepack": "true",
    "uploadpack.allowFilter": "true",
    "uploadpack.allowAnySHA1InWant": "true",
    "receive.autogc": "false",
    "gc.auto": "0",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the repository is."""

    files: int = 50_000

    @property
    def apps(self) -> int:
        """Apps, each of `PER_APP` manifests."""
        return max(1, self.files // SHARE)

    @property
    def others(self) -> int:
        """Files that are no manifests of apps; the list of owners is one of them."""
        return max(1, self.files - self.apps * PER_APP)


def app(number: int) -> str:
    """A name of words, some of which other apps have too."""
    return f"{_WORDS[number % len(_WORDS)]}-{_WORDS[number // len(_WORDS) % len(_WORDS)]}-{number:04}"


def image(name: str, tag: str) -> str:
    return f"ghcr.io/acme/{name}:{tag}"


def tag_path(name: str) -> str:
    """The one file that says which tag runs in prod."""
    return f"apps/{name}/overlays/prod/kustomization.yaml"


def tag_file(name: str, tag: str) -> str:
    """Its content."""
    return f"""apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: prod
resources:
- ../../base
patches:
- path: replicas.yaml
images:
- name: ghcr.io/acme/{name}
  newTag: {tag} # what runs
"""


def manifests(name: str) -> Iterator[tuple[str, str]]:
    """Paths and contents of one app."""
    base = f"apps/{name}/base"
    yield f"{base}/kustomization.yaml", "resources:\n- deployment.yaml\n- service.yaml\n- hpa.yaml\n"
    yield f"{base}/deployment.yaml", _DEPLOYMENT.replace("NAME", name)
    yield f"{base}/service.yaml", _SERVICE.replace("NAME", name)
    yield f"{base}/hpa.yaml", _HPA.replace("NAME", name)
    for overlay, replicas in (("staging", 1), ("prod", 4)):
        folder = f"apps/{name}/overlays/{overlay}"
        yield f"{folder}/kustomization.yaml", tag_file(name, FIRST).replace("namespace: prod", f"namespace: {overlay}")
        yield f"{folder}/replicas.yaml", _REPLICAS.replace("NAME", name).replace("COUNT", str(replicas))


def contents(shape: Shape) -> Iterator[tuple[str, str]]:
    """Every file."""
    for number in range(shape.apps):
        yield from manifests(app(number))
    yield "OWNERS", "nobody\n"
    for number in range(shape.others - 1):
        folder, kind = f"src/team-{number % 40:02}/service-{number % 1700:04}", ("go", "md", "json")[number % 3]
        yield f"{folder}/file-{number:05}.{kind}", f"{number} of service {number % 1700}\n" * (5 + number % 60)


def stream(shape: Shape, now: int) -> Iterator[bytes]:
    """For `fast-import`: all files in a first commit, then people who change one file at a time."""
    begin = now - (HISTORY + 1) * PACE
    yield from _commit(begin, "initial")
    for path, text in contents(shape):
        yield _file(path, text)
    for number in range(HISTORY):
        yield from _commit(begin + (number + 1) * PACE, f"change {number}")
        yield _file("OWNERS", f"{number} people\n")
    yield b"done\n"


def _commit(at: int, message: str) -> Iterator[bytes]:
    who = f"dev <dev@example.com> {at} +0000"
    yield f"commit refs/heads/main\nauthor {who}\ncommitter {who}\ndata {len(message)}\n{message}\n".encode()


def _file(path: str, text: str) -> bytes:
    data = text.encode()
    return f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n"


def made(shape: Shape, cache: Path, now: int) -> Path:
    """The bare repository, from the cache or made now and packed as a server packs. Its history ends when it was made."""
    bare = cache / f"monorepo-{shape.files}-v{VERSION}.git"
    if bare.exists():
        return bare
    new = bare.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", "--bare", "--initial-branch=main", str(new)], check=True)
    for key, value in CONFIG.items():
        subprocess.run(["git", "-C", str(new), "config", key, value], check=True)
    with subprocess.Popen(["git", "-C", str(new), "fast-import", "--quiet", "--done"], stdin=subprocess.PIPE) as importer:
        assert importer.stdin is not None
        for part in stream(shape, now):
            importer.stdin.write(part)
    if importer.returncode:
        raise OSError(f"git fast-import ended with {importer.returncode}")
    subprocess.run(["git", "-C", str(new), "repack", "-a", "-d", "-q", "-f"], check=True)
    new.rename(bare)
    return bare


_DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata:
  name: NAME
  labels:
    app.kubernetes.io/name: NAME
spec:
  selector:
    matchLabels:
      app: NAME
  template:
    metadata:
      labels:
        app: NAME
      annotations:
        prometheus.io/scrape: "true"
    spec:
      containers:
      - name: NAME
        image: ghcr.io/acme/NAME:latest
        ports:
        - containerPort: 9898
          name: http
        readinessProbe:
          httpGet:
            path: /readyz
            port: http
        resources:
          requests:
            cpu: 100m
            memory: 64Mi
"""
_SERVICE = """apiVersion: v1
kind: Service
metadata:
  name: NAME
spec:
  selector:
    app: NAME
  ports:
  - name: http
    port: 80
    targetPort: http
"""
_HPA = """apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: NAME
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: NAME
  minReplicas: 2
  maxReplicas: 8
"""
_REPLICAS = """apiVersion: apps/v1
kind: Deployment
metadata:
  name: NAME
spec:
  replicas: COUNT
"""
