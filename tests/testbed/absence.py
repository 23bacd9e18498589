"""What becomes of a test whose real part is missing: at home it is skipped with the sentence that mends it; where CI is true a skip would be a hole."""

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """End the test."""
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        pytest.fail(f"CI must run this test: {reason}", pytrace=False)
    pytest.skip(reason)
