"""`parse_duration` against the grammar of Go's time.ParseDuration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.api.common import parse_duration, seconds_or

GOOD = {
    "0": 0, "+0": 0, "-0": 0, "0s": 0, "5s": 5, "30s": 30, "1478s": 1478, "-5s": -5, "+5s": 5, "5.0s": 5, "5.6s": 5.6, "5.s": 5, ".5s": 0.5,
    "1.0s": 1, "1.00s": 1, "1.004s": 1.004, "1.0040s": 1.004, "100.00100s": 100.001, "10ns": 1e-8, "11us": 1.1e-5, "12µs": 1.2e-5,
    "12μs": 1.2e-5, "13ms": 0.013, "14s": 14, "15m": 900, "16h": 57600, "3h30m": 12600, "10.5s4m": 250.5, "-2m3.4s": -123.4,
    "1h2m3s4ms5us6ns": 3723.004005006, "39h9m14.425s": 140954.425, "1m30s": 90, "100ms": 0.1, "1m1m": 120, "0.3333333333333333333h": 1200,
    "9223372036854775807ns": 9223372036.854775807, "-9223372036854775808ns": -9223372036.854775808, "9223372036.854775807s": 9223372036.854775807,
}  # fmt: skip
BAD = {
    "": "a number with a unit", "3": "unit after '3' is missing", "-": "a number with a unit", "s": "number is expected at 's'",
    ".": "number is expected", "-.": "number is expected", ".s": "number is expected", "+.s": "number is expected", "1d": "unknown unit 'd'",
    "5minutes": "unknown unit 'minutes'", "1w": "unknown unit 'w'", "1.2.3s": "unit after '1.2' is missing", "1 s": "unknown unit ' s'",
    " 1s": "number is expected", "1s ": "unknown unit 's '", "1S": "unknown unit 'S'", "--5s": "number is expected", "5s-3s": "unknown unit 's-'",
    "1e3s": "unknown unit 'e'", "00": "unit after '00' is missing", "9223372036854775808ns": "292 years", "-9223372036854775809ns": "292 years",
    "9223372036854775.808us": "292 years", "3000000h": "292 years", "3000000h0s": "292 years",
}  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_accepted(text):
    assert parse_duration(text) == pytest.approx(GOOD[text], rel=1e-15, abs=0)


@pytest.mark.parametrize("text", BAD)
def test_refused_with_the_text_and_the_cause(text):
    with pytest.raises(ValueError, match="invalid duration") as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)
    assert BAD[text] in str(caught.value)


@pytest.mark.parametrize("digits", ["٣s", "\uff11s"])
def test_only_ascii_digits_count(digits):
    with pytest.raises(ValueError, match="number is expected"):
        parse_duration(digits)


def go_text(nanoseconds: int) -> str:
    """As Go's Duration.String would write it."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    hours, rest = divmod(rest, 3600 * 10**9)
    minutes, rest = divmod(rest, 60 * 10**9)
    seconds, fraction = divmod(rest, 10**9)
    return f"{sign}{hours}h{minutes}m{seconds}" + (f".{fraction:09d}".rstrip("0") if fraction else "") + "s"


@given(st.integers(-(2**63), 2**63 - 1))
def test_what_go_writes_is_read_back(nanoseconds):
    assert parse_duration(go_text(nanoseconds)) == nanoseconds / 10**9


@given(st.text(alphabet="0123456789.smhun+-µ e", max_size=12))
def test_any_text_gives_a_number_or_one_clear_error(text):
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        complaint = str(error)
    else:
        assert seconds_or(text, 7.0) == seconds
        return
    assert complaint.startswith("invalid duration")
    assert seconds_or(text, 7.0) == 7.0
