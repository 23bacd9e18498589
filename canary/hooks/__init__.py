"""Webhooks and gates: calls to services of the user's that may hold, fail or undo a release."""
