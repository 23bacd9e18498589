"""Names, labels and other parts of ObjectMeta: what the API server accepts there.

Apart from the rules of single kinds, because every write of every kind passes through these.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

from canary.sandbox.schema_checks import Violation
from canary.sandbox.schema_nodes import show

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_SERVICE: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_QUALIFIED: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]\Z")
_VALUE: Final = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?\Z")
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_ANNOTATIONS_LIMIT: Final = 256 * 1024

_SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "
    "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SERVICE_TEXT: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
    "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_TEXT: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
    "'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_PATH_NAMES: Final = frozenset(("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"))


def generated(prefix: str) -> str:
    """A name from `generateName`: five random letters and digits that spell no word, after at most 58 characters of the prefix."""
    return prefix[:58] + "".join(secrets.choice(_ALPHABET) for _ in range(5))


def metadata_violations(kind: str, metadata: Mapping[str, Any]) -> list[Violation]:
    """Everything wrong with the user's part of an object's metadata."""
    out: list[Violation] = []
    name = metadata.get("name") or ""
    if not name:
        return [Violation("metadata.name", "Required value: name or generateName is required")]
    if problem := name_problem(kind, name):
        out.append(Violation("metadata.name", f"Invalid value: {show(name)}: {problem}"))
    out += _labels(metadata.get("labels") or {}, "metadata.labels")
    annotations = metadata.get("annotations") or {}
    out += [
        Violation("metadata.annotations", f"Invalid value: {show(key)}: {_QUALIFIED_TEXT}")
        for key in annotations
        if not _is_qualified(key.lower())
    ]
    if sum(len(key) + len(value) for key, value in annotations.items() if isinstance(value, str)) > _ANNOTATIONS_LIMIT:
        out.append(Violation("metadata.annotations", f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"))
    out += _owners(metadata.get("ownerReferences") or [])
    for index, finalizer in enumerate(metadata.get("finalizers") or []):
        if not _is_qualified(finalizer):
            out.append(Violation(f"metadata.finalizers[{index}]", f"Invalid value: {show(finalizer)}: {_QUALIFIED_TEXT}"))
    return out


def name_problem(kind: str, name: str) -> str:
    """Why a name cannot be used for this kind; "" when it can."""
    if kind in _PATH_NAMES:
        return "" if name not in (".", "..") and "/" not in name and "%" not in name else "may not be '.' or '..' or contain '/' or '%'"
    if kind == "Namespace":
        return "" if _LABEL.match(name) else _LABEL_TEXT
    if kind == "Service":
        return "" if _SERVICE.match(name) else _SERVICE_TEXT
    if len(name) > 253:
        return "must be no more than 253 characters"
    return "" if _SUBDOMAIN.match(name) else _SUBDOMAIN_TEXT


def is_subdomain(text: str) -> bool:
    """Whether the text is a DNS subdomain in lower case."""
    return bool(_SUBDOMAIN.match(text))


def _is_qualified(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return bool(_QUALIFIED.match(name)) and (not slash or bool(_SUBDOMAIN.match(prefix)))


def label_violations(labels: Mapping[str, Any], path: str) -> list[Violation]:
    """Bad keys and values among labels."""
    return list(_labels(labels, path))


def _labels(labels: Mapping[str, Any], path: str) -> Iterator[Violation]:
    for key in labels:
        if not _is_qualified(key):
            yield Violation(path, f"Invalid value: {show(key)}: {_QUALIFIED_TEXT}")
    for value in labels.values():
        if isinstance(value, str) and not _VALUE.match(value):
            text = "must be no more than 63 bytes" if len(value) > 63 else _VALUE_TEXT
            yield Violation(path, f"Invalid value: {show(value)}: {text}")


def _owners(references: list[Any]) -> Iterator[Violation]:
    controllers = 0
    for index, reference in enumerate(references):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not reference.get(key):
                text = "must not be empty"
                yield Violation(
                    f"metadata.ownerReferences[{index}].{key}", f'Invalid value: "": {"version " if key == "apiVersion" else ""}{text}'
                )
        controllers += reference.get("controller") is True
    if controllers > 1:
        yield Violation("metadata.ownerReferences", "Invalid value: Only one reference can have Controller set to true")
