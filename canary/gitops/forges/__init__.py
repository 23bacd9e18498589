"""Forges: what a Git host offers beside Git. Pull requests, commit statuses, and commits that the host signs itself."""
