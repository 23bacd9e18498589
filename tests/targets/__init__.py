"""Tests of the target kinds."""
