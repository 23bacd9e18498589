"""Values that end up in arguments of the `git` program and in paths of a repository, and what is refused of them.

Each is refused both by the CRD and by the model: a URL that is neither HTTP nor SSH, a URL with a password in it, a branch that looks like an option, a
ref that is somebody else's, a path that leaves the repository.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

from canary.api.common import OptionalText, Text

URL_PATTERN: Final = (
    r"^(https?://[A-Za-z0-9\[][^@\s/?#]*(/[^\s?#]*)?"  # no user info: credentials belong into secretRef
    r"|ssh://([A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9\[][^@\s/?#]*/[^\s?#]+"
    r"|[A-Za-z0-9._][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^\s:-][^\s:]*)$"
)
HTTP_PATTERN: Final = r"^https?://[A-Za-z0-9\[][^@\s/?#\x00-\x1f]*([/?#][^\s\x00-\x1f]*)?$"
BRANCH_PATTERN: Final = r"^[A-Za-z0-9_][A-Za-z0-9._/-]*$"
REF_PATTERN: Final = r"^refs(/([A-Za-z0-9_-]|\{cluster\})+(\.([A-Za-z0-9_-]|\{cluster\})+)*){2,}$"
LINE_PATTERN: Final = r"^[^\x00-\x1f\x7f<>]+$"
CLUSTER_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
PATH_PATTERN: Final = r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
_TAKEN: Final = ("refs/heads/", "refs/tags/", "refs/for/")
_NO_REF = "is not a ref that Git accepts: letters, digits, `-`, `_`, dots inside, and `{cluster}`, in at least two parts after `refs`"
_NOT_OURS = "must be no branch (`branch` names those), no tag, and nothing that asks for a review"


def matching(pattern: str, problem: str) -> AfterValidator:
    """Refuses whatever the pattern does not match as a whole, with this sentence."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(problem)
        return value

    return AfterValidator(check)


def _branch(value: str) -> str:
    if ".." in value or "//" in value or value.endswith(("/", ".", ".lock")):
        raise ValueError("is not a branch name that Git accepts")
    return value


def checked_ref(value: str) -> str:
    """The whole name of a ref, as it is. Raises ValueError when Git would not accept it, or when it is not for records."""
    if not re.fullmatch(REF_PATTERN, value) or ".lock/" in value or value.endswith(".lock"):
        raise ValueError(_NO_REF)
    if value.startswith(_TAKEN):
        raise ValueError(_NOT_OURS)
    return value


def _inside(value: str) -> str:
    if ".." in value.split("/"):
        raise ValueError("must stay inside the repository: no `..`")
    return value


_BRANCH_RULES: Final = [
    {"rule": "!self.contains('..') && !self.contains('//')", "message": "is not a branch name that Git accepts"},
    {
        "rule": "!self.endsWith('/') && !self.endsWith('.') && !self.endsWith('.lock')",
        "message": "is not a branch name that Git accepts",
    },
]
RepositoryUrl = Annotated[
    Text,
    matching(URL_PATTERN, "must be an http, https or ssh URL (or user@host:path), without a password in it"),
    WithJsonSchema({"type": "string", "maxLength": 2048, "pattern": URL_PATTERN}),
]
Branch = Annotated[
    Text,
    matching(BRANCH_PATTERN, "is not a branch name that Git accepts"),
    AfterValidator(_branch),
    WithJsonSchema({"type": "string", "maxLength": 244, "pattern": BRANCH_PATTERN, "x-kubernetes-validations": _BRANCH_RULES}),
]
Ref = Annotated[
    Text,
    AfterValidator(checked_ref),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 244,
            "pattern": REF_PATTERN,
            "x-kubernetes-validations": [
                {"rule": "!self.contains('.lock/') && !self.endsWith('.lock')", "message": _NO_REF},
                {"rule": " && ".join(f"!self.startsWith('{prefix}')" for prefix in _TAKEN), "message": _NOT_OURS},
            ],
        }
    ),
]
HttpUrl = Annotated[
    OptionalText,
    matching(rf"{HTTP_PATTERN}|^$", "must be an http or https URL, without a password in it"),
    WithJsonSchema({"type": "string", "maxLength": 2048, "pattern": rf"{HTTP_PATTERN}|^$"}),
]
Line = Annotated[
    Text,
    matching(LINE_PATTERN, "must be one line, without control characters, < and >"),
    WithJsonSchema({"type": "string", "maxLength": 200, "pattern": LINE_PATTERN}),
]
ClusterName = Annotated[
    Text,
    matching(CLUSTER_PATTERN, "must be lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit"),
    WithJsonSchema({"type": "string", "maxLength": 253, "pattern": CLUSTER_PATTERN}),
]
RepositoryPath = Annotated[
    Text,
    matching(PATH_PATTERN, "must be a path from the root of the repository, without a leading `/`"),
    AfterValidator(_inside),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 512,
            "pattern": PATH_PATTERN,
            "x-kubernetes-validations": [
                {"rule": "!self.split('/').exists(part, part == '..')", "message": "must stay inside the repository: no `..`"}
            ],
        }
    ),
]
