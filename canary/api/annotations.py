"""Annotations of ours. Those by which a person speaks to a release are explained in `canary.core.commands`."""

from __future__ import annotations

from canary.api.common import EXTENSION_GROUP

COMMAND = f"{EXTENSION_GROUP}/command"
"""`<verb>@<anything new>`."""
RUN = f"{EXTENSION_GROUP}/run"
"""On a fresh copy of the old version: the run that it was made for."""
BY, REASON = f"{EXTENSION_GROUP}/by", f"{EXTENSION_GROUP}/reason"
"""Who says it, and why."""
CHOICE = f"{COMMAND}: abort@<nonce> to roll back, retry@<nonce> to analyse it again, promote@<nonce> to promote it nevertheless"
"""What a person can answer to a run that waits for one."""
