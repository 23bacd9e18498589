"""YAML as the C loader reads it, where there is one: CRDs and rendered charts are long, and Python's own takes half a second for one."""

from typing import Any, Final

import yaml

_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def document(text: str) -> Any:
    """The one document of a text."""
    return yaml.load(text, Loader=_Loader)


def documents(text: str) -> list[Any]:
    """All that have anything in them."""
    return [found for found in yaml.load_all(text, Loader=_Loader) if found]
