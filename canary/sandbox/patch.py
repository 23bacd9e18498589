"""JSON patch (RFC 6902) and JSON merge patch (RFC 7396) on shared, never modified documents.

Both return a document that shares everything untouched with its input, so that later steps can skip what is identical. The `jsonpatch`
package was rejected: it deep-copies the document for every patch, and it refuses `replace` of an absent field, which the API server allows.
"""

from collections.abc import Sequence
from typing import Any, Final

_OPERATIONS: Final = frozenset(("add", "remove", "replace", "move", "copy", "test"))


class PatchError(ValueError):
    """The patch does not fit the document; the message says which operation and why."""


def merge_patch(document: Any, patch: Any) -> Any:
    """RFC 7396: objects merge, null deletes, everything else replaces."""
    if type(patch) is not dict:
        return patch
    if type(document) is not dict:
        return merge_patch({}, patch)
    out = document
    for key, item in patch.items():
        if item is None:
            if key in out:
                out = {name: value for name, value in out.items() if name != key}
            continue
        old = document.get(key)
        new = merge_patch(old, item)
        if key in document and (new is old or (new == old and type(new) is type(old))):
            continue
        out = dict(out) if out is document else out
        out[key] = new
    return out


def json_patch(document: Any, operations: Sequence[Any]) -> Any:
    """RFC 6902, in order, all or nothing. Raises PatchError."""
    for operation in operations:
        if not isinstance(operation, dict) or operation.get("op") not in _OPERATIONS or not isinstance(operation.get("path"), str):
            raise PatchError(f"not a JSON patch operation: {operation!r}")
        document = _one(document, operation)
    return document


def _one(document: Any, operation: dict[str, Any]) -> Any:
    kind, path = operation["op"], _tokens(operation["path"])
    if kind == "test":
        found = _lookup(document, path, missing=None)
        if found != operation.get("value") or type(found) is not type(operation.get("value")):
            raise PatchError(f"testing value {operation['path']} failed")
        return document
    if kind == "remove":
        return _edit(document, path, "remove", None)
    if kind in ("move", "copy"):
        source = _tokens(str(operation.get("from", "")))
        value = _lookup(document, source)
        if kind == "move":
            document = _edit(document, source, "remove", None)
        return _edit(document, path, "add", value)
    if "value" not in operation:
        raise PatchError(f"{kind} operation lacks a value: {operation['path']}")
    return _edit(document, path, kind, operation["value"])


def _tokens(pointer: str) -> list[str]:
    if not pointer:
        return []
    if not pointer.startswith("/"):
        raise PatchError(f"a JSON pointer begins with '/': {pointer!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


_FAIL: Final = object()


def _lookup(document: Any, path: list[str], missing: Any = _FAIL) -> Any:
    for token in path:
        if type(document) is dict and token in document:
            document = document[token]
        elif type(document) is list and token.isdigit() and int(token) < len(document):
            document = document[int(token)]
        elif missing is not _FAIL:
            return missing
        else:
            raise PatchError(f"nothing stands at /{'/'.join(path)}")
    return document


def _edit(document: Any, path: list[str], kind: str, value: Any) -> Any:
    if not path:
        return value
    token, rest = path[0], path[1:]
    if type(document) is dict:
        return _edit_object(document, token, rest, kind, value)
    if type(document) is list:
        return _edit_list(document, token, rest, kind, value)
    raise PatchError(f"'{token}' does not lead into a list or an object")


def _edit_object(document: dict[str, Any], token: str, rest: list[str], kind: str, value: Any) -> dict[str, Any]:
    if rest or kind == "remove":
        if token not in document:
            raise PatchError(f"nothing stands at '{token}'")
        if not rest:
            return {key: item for key, item in document.items() if key != token}
        return {**document, token: _edit(document[token], rest, kind, value)}
    return {**document, token: value}


def _edit_list(document: list[Any], step: str, rest: list[str], kind: str, value: Any) -> list[Any]:
    if step == "-" and kind == "add" and not rest:
        return [*document, value]
    try:
        index = int(step)
    except ValueError:
        raise PatchError(f"'{step}' is no index of a list") from None
    index += len(document) if index < 0 else 0
    if not 0 <= index < len(document) + (kind == "add" and not rest):
        raise PatchError(f"index {step} is out of bounds")
    out = list(document)
    if rest:
        out[index] = _edit(out[index], rest, kind, value)
    elif kind == "add":
        out.insert(index, value)
    elif kind == "remove":
        del out[index]
    else:
        out[index] = value
    return out
