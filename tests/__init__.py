"""Tests of the project; `tests/testbed` gives them a real cluster and a real mesh."""
