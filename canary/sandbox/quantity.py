"""Resource quantities (`500m`, `1.5Gi`) in the canonical form in which the API server stores them.

Why: an operator that copies a pod template compares what it wrote with what it reads back; a server that kept `1000m` where the real one
answers `1` would hide an endless correction loop. Rejected: floats (they lose `n` precision); `decimal` is exact.
Rules: no fraction, the largest suffix that keeps the number whole, and the family of the suffix (decimal or binary) stays.
"""

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

_FORM: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)\Z")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def canonical(value: Any) -> Any:
    """The stored form of a quantity given as string or number; what is no quantity comes back unchanged (see `is_quantity`)."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return value
    form = _canonical(str(value))
    return value if not form or form == value else form


def is_quantity(value: Any) -> bool:
    """Whether the API server would accept the value as a quantity."""
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and bool(_FORM.match(str(value)))


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    match = _FORM.match(text)
    if match is None:
        return ""
    digits, exponent, suffix = match.groups()
    try:
        number = Decimal(digits)
    except InvalidOperation:  # pragma: no cover - the pattern admits only numbers
        return ""
    if suffix in _BINARY:
        return _binary(number * Decimal(1024) ** _BINARY[suffix])
    power = int(exponent[1:]) if exponent else _DECIMAL[suffix or ""]
    return _decimal(number.scaleb(power), scientific=bool(exponent))


def _decimal(number: Decimal, *, scientific: bool = False) -> str:
    if number == 0:
        return "0"
    for suffix, power in sorted(_DECIMAL.items(), key=lambda item: -item[1]):
        scaled = number.scaleb(-power)
        if scaled == scaled.to_integral_value():
            if scientific:
                return f"{int(scaled)}e{power}" if power else str(int(scaled))
            return f"{int(scaled)}{suffix}"
    return f"{int(number.scaleb(9).to_integral_value(rounding='ROUND_CEILING'))}n"


def _binary(number: Decimal) -> str:
    if -1024 < number < 1024:
        return _decimal(number)
    whole = int(number.to_integral_value(rounding="ROUND_CEILING"))
    suffix = ""
    for name in _BINARY:
        if whole % 1024:
            break
        whole //= 1024
        suffix = name
    return f"{whole}{suffix}"
