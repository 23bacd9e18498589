"""The small parts: durations, sizes, flags, bounded output, and slow bodies."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.goflags import Flag, FlagError, HelpRequested, parse_flags
from loadtest.options import read_options
from loadtest.output import CappedOutput
from loadtest.units import format_time, parse_bool, parse_duration, parse_size, parse_time
from tests.loadtest.support import QuickLoadTester


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1.5m", 90),
        ("2m30s", 150),
        ("500ms", 0.5),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("3ns", 3e-9),
        (".5s", 0.5),
        ("1m1m", 120),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1 s", "1d", "-1s", "1h2", "1e3s", "\uff11s", "1s\n"])
def test_what_go_refuses_or_no_limit_can_use_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("65536", 65536), ("64KiB", 65536), ("64Ki", 65536), ("1MiB", 1048576), ("2K", 2000), ("7 B", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "1GiB", "-1", "1.5MiB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


@given(st.datetimes(timezones=st.timezones()))
def test_times_survive_being_written(moment: datetime) -> None:
    try:
        kept = moment.astimezone(UTC)
    except OverflowError:  # a zone can push the first or last day out of the calendar
        return
    assert abs(parse_time(format_time(kept)) - kept) < timedelta(milliseconds=1)


FLAGS = (
    Flag(name="port", help="", read=int, default=1),
    Flag(name="on", help="", read=parse_bool, default=False),
    Flag(name="H", help="", repeated=True),
)


@pytest.mark.parametrize(
    ("arguments", "port", "on", "headers", "rest"),
    [
        ([], 1, False, [], []),
        (["-port=2"], 2, False, [], []),
        (["--port", "3", "-on"], 3, True, [], []),
        (["-on=false", "-H", "a", "--H=b=c"], 1, False, ["a", "b=c"], []),
        (["-H", "-port"], 1, False, ["-port"], []),
        (["-port=2", "url", "-port=9"], 2, False, [], ["url", "-port=9"]),
        (["-on", "false"], 1, True, [], ["false"]),
        (["--", "-port=2"], 1, False, [], ["-port=2"]),
        (["-"], 1, False, [], ["-"]),
        (["-H="], 1, False, [""], []),
    ],
)
def test_flags_are_read_as_go_reads_them(arguments: list[str], port: int, on: bool, headers: list[str], rest: list[str]) -> None:
    assert parse_flags(FLAGS, arguments) == ({"port": port, "on": on, "H": headers}, rest)


@pytest.mark.parametrize("arguments", [["-p=1"], ["-port2"], ["---port=1"], ["-H"], ["-on=perhaps"], ["-port="], ["-=1"]])
def test_other_flags_are_refused(arguments: list[str]) -> None:
    with pytest.raises(FlagError):
        parse_flags(FLAGS, arguments)


@pytest.mark.parametrize("argument", ["-h", "--help", "-help"])
def test_help_can_be_asked_for(argument: str) -> None:
    with pytest.raises(HelpRequested):
        parse_flags(FLAGS, [argument])


def test_the_flags_of_flaggers_charts_are_taken() -> None:
    options = read_options(
        ["-port=8080", "-log-level=info", "-timeout=1h", "-namespace-regexp=", "-zap-encoding=json", "-zap-replace-globals=true"]
    )
    assert (options.port, options.log_level, options.timeout, options.namespace_regexp) == (8080, "info", 3600, "")
    defaults = read_options([])
    assert (defaults.port, defaults.log_level, defaults.timeout, defaults.zap_encoding) == (9090, "debug", 3600, "json")
    assert (defaults.max_concurrency, defaults.max_output, defaults.allow_cmd) == (32, 65536, ())
    assert read_options(["-allow-cmd=hey, curl,", "--allow-cmd", "hey"]).allow_cmd == ("hey", "curl")


@given(chunks=st.lists(st.binary(max_size=30), max_size=30), limit=st.integers(min_value=2, max_value=40))
def test_bounded_output_is_the_beginning_and_the_end(chunks: list[bytes], limit: int) -> None:
    output = CappedOutput(limit)
    for chunk in chunks:
        output.write(chunk)
    whole = b"".join(chunks)
    assert output.total == len(whole)
    if len(whole) <= limit:
        assert (output.left_out, output.text()) == (0, whole.decode(errors="replace"))
    else:
        head, tail = limit // 2, limit - limit // 2
        gap = f"\n... {len(whole) - limit} bytes left out ...\n".encode()
        assert output.left_out == len(whole) - limit
        assert output.text() == (whole[:head] + gap + whole[-tail:]).decode(errors="replace")


def test_a_body_that_does_not_come_is_not_waited_for(quick: Callable[..., QuickLoadTester], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.request_guard._BODY_SECONDS", 0.2)
    server = quick()
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=5) as client:
        client.sendall(b"POST /gate/open HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
