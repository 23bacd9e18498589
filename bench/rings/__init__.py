"""Rings on a virtual clock and a virtual Git: the real rules, thousands of clusters, and everything that goes wrong."""
