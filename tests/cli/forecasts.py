"""A manifest, and the command line in this process: what the tests of simulate, replay and plan share."""

import json

import yaml

from canary.cli.exits import invoke
from canary.cli.main import cli

BEGAN = 1_795_000_020.0
"""When the run of the past began, in Unix seconds."""


def manifest(folder, *, judge="sequential", **analysis):
    """A Canary on Istio; the path of its file."""
    body = {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "podinfo", "namespace": "prod"},
        "spec": {
            "provider": "istio",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "service": {"port": 9898},
            "analysis": {
                "interval": "1m",
                "threshold": 5,
                "stepWeight": 10,
                "maxWeight": 50,
                "judge": judge,
                "metrics": [
                    {"name": "request-success-rate", "interval": "1m", "thresholdRange": {"min": 99}},
                    {"name": "request-duration", "interval": "1m", "thresholdRange": {"max": 800}},
                ],
                **({"sequential": {"minDuration": "5m"}} if judge == "sequential" else {}),
                **analysis,
            },
        },
    }
    path = folder / "canary.yaml"
    path.write_text(yaml.safe_dump(body))
    return str(path)


def canary(*arguments):
    """Run a command line; its exit code."""
    return invoke(cli, [str(argument) for argument in arguments], prog="canary")


def lines(text):
    """The objects of JSON lines."""
    return [json.loads(line) for line in text.splitlines()]
