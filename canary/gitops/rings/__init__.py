"""Rings: a release walks through groups of clusters, each gated by what the groups before it have written to Git. No hub, no cluster credentials."""
