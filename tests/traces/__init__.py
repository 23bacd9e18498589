"""Releases that the peer was recorded with, decided once more by our rules."""
