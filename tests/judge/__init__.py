"""Tests of the sequential judge."""
