"""Canary: progressive delivery for Kubernetes that explains its verdicts and tells Git the truth."""

__version__ = "0.1.0"
