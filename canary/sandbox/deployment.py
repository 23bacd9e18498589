"""The Deployment of the story, as its developer writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from canary.sandbox.stage import APP, HOME

PORT = 9898


def deployment(image: str, env: Mapping[str, str] | None = None) -> str:
    """YAML of the application with this image. It says nothing of replicas: scaling is the operator's while it releases."""
    variables = "".join(
        f"\n        - name: {json.dumps(name)}\n          value: {json.dumps(value)}" for name, value in (env or {}).items()
    )
    return f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: {APP}
  namespace: {HOME}
spec:
  selector:
    matchLabels:
      app: {APP}
  template:
    metadata:
      labels:
        app: {APP}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "{PORT}"
    spec:
      containers:
      - name: {APP}
        image: {image} # the only place that names the version
        ports:
        - name: http
          containerPort: {PORT}
        readinessProbe:
          httpGet:
            path: /readyz
            port: {PORT}{f"{chr(10)}        env:{variables}" if variables else ""}
"""
