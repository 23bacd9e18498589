"""The load tester: runs load and conformance commands, and keeps approval gates, for the hooks of a canary analysis.

It stands alone: nothing of the operator is imported, so that its image stays small and a namespace can run its own copy.
"""

__version__ = "0.1.0"
