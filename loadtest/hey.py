"""`hey` for images without it: the same options and the same report, in Python.

Hooks that were written for Flagger run `hey -z 2m -q 10 -c 2 http://podinfo:9898/`; they must keep working without a
foreign binary. Differences, each on purpose: `-n` is sent exactly (hey rounds down to a multiple of `-c`), an
interrupt drops the requests under way, and `-x` and `-h2` are refused instead of being ignored.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from multidict import CIMultiDict
from yarl import URL

from loadtest.goflags import Flag, FlagError, HelpRequested, help_text, parse_flags, whole_number
from loadtest.hey_load import Load, Plan
from loadtest.hey_report import csv_lines, summary
from loadtest.units import parse_bool, parse_duration

_USER_AGENT: Final = "hey/0.0.1 (canary-loadtester)"


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
    if not 0 <= rate <= 1_000_000:
        raise ValueError(f"{text!r} must be between 0 and 1000000 requests per second")
    return rate


def _refused(why: str) -> Any:
    def read(text: str) -> None:
        raise ValueError(f"not supported here: {why} (value {text!r})")

    return read


FLAGS: Final = (
    Flag(name="n", help="requests to send", read=whole_number(minimum=1), default=200),
    Flag(name="c", help="workers that send at the same time", read=whole_number(minimum=1, maximum=10_000), default=50),
    Flag(name="q", help="requests per second of each worker; 0 is no limit", read=_rate, default=0.0),
    Flag(name="z", help="how long to send, such as 30s or 2m; then -n is not used", read=parse_duration, default=0.0),
    Flag(name="o", help="report: csv instead of the summary", default=""),
    Flag(name="m", help="HTTP method", default="GET"),
    Flag(name="H", help="header 'Name: value', may be repeated", repeated=True),
    Flag(name="t", help="seconds until a request is given up; 0 is never", read=whole_number(minimum=0), default=20),
    Flag(name="A", help="Accept header", default=""),
    Flag(name="d", help="request body", default=""),
    Flag(name="D", help="file with the request body", default=""),
    Flag(name="T", help="Content-Type header", default="text/html"),
    Flag(name="U", help="User-Agent header", default=_USER_AGENT),
    Flag(name="a", help="basic authentication, username:password", default=""),
    Flag(name="host", help="Host header", default=""),
    Flag(name="disable-compression", help="do not ask for compressed replies", read=parse_bool, default=False),
    Flag(name="disable-keepalive", help="a new connection for every request", read=parse_bool, default=False),
    Flag(name="disable-redirects", help="do not follow redirects", read=parse_bool, default=False),
    Flag(name="cpus", help="taken for compatibility; one CPU is used", read=whole_number(minimum=1), default=1),
    Flag(name="x", help="not supported: proxies", read=_refused("proxies; name the target itself")),
    Flag(name="h2", help="not supported: HTTP/2", read=parse_bool, default=False),
)


def read_plan(arguments: Sequence[str]) -> tuple[Plan, str, list[str]]:
    """The plan of a command line, the report wanted (empty or csv), and the words after the URL, which hey ignores too.

    Raises FlagError or HelpRequested.
    """
    values, rest = parse_flags(FLAGS, arguments)
    if not rest:
        raise FlagError("no URL; usage: hey [options] URL")
    if values["h2"]:
        raise FlagError("flag -h2: HTTP/2 is not supported here; put the real hey on PATH")
    if values["o"] not in {"", "csv"}:
        raise FlagError(f"flag -o: {values['o']!r} is not supported, csv is")
    timed = values["z"] > 0
    if not timed and values["n"] < values["c"]:
        raise FlagError(f"flag -n ({values['n']}) must not be less than -c ({values['c']})")
    plan = Plan(
        url=_url(rest[0]),
        method=values["m"].upper(),
        headers=_headers(values),
        body=_body(values),
        requests=None if timed else values["n"],
        seconds=values["z"] if timed else None,
        workers=values["c"],
        rate=values["q"],
        timeout=float(values["t"]) or None,
        keepalive=not values["disable-keepalive"],
        redirects=not values["disable-redirects"],
        compression=not values["disable-compression"],
    )
    return plan, values["o"], rest[1:]


def _url(text: str) -> URL:
    try:
        # What is a valid URL is sent as it was written: quoting it anew would turn %2F into a slash.
        url = URL(text, encoded=text.isascii() and text.isprintable() and " " not in text)
        port_is_valid = url.port is not None
    except ValueError as error:
        raise FlagError(f"{text!r} is no URL: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host or not port_is_valid:
        raise FlagError(f"{text!r} is no URL of the form http://host[:port]/path")
    return url


def _headers(values: dict[str, Any]) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    headers["Content-Type"] = values["T"]
    headers["User-Agent"] = values["U"]
    if not values["disable-compression"]:
        headers["Accept-Encoding"] = "gzip"
    for line in values["H"]:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise FlagError(f"flag -H: {line!r} is not of the form 'Name: value'")
        headers[name.strip()] = value.strip()
    if values["A"]:
        headers["Accept"] = values["A"]
    if values["host"]:
        headers["Host"] = values["host"]
    if values["a"]:
        user, colon, _ = values["a"].partition(":")
        if not colon or not user:
            raise FlagError("flag -a: write username:password")
        headers["Authorization"] = "Basic " + base64.b64encode(values["a"].encode()).decode()
    return headers


def _body(values: dict[str, Any]) -> bytes:
    if not values["D"]:
        return str(values["d"]).encode()
    try:
        return Path(values["D"]).read_bytes()
    except OSError as error:
        raise FlagError(f"flag -D: {values['D']} cannot be read: {error.strerror}") from error


async def send_load(plan: Plan, *, detailed: bool) -> Load:
    """Run the plan to its end, or until SIGINT or SIGTERM; what was measured until then is in the results."""
    load = Load(plan, detailed=detailed)
    running = asyncio.create_task(load.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return load


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the load and print the report; 0 whatever the replies were (as hey), 1 for a wrong command line."""
    try:
        plan, report, ignored = read_plan(sys.argv[1:] if arguments is None else arguments)
    except HelpRequested:
        sys.stdout.write(help_text("hey [options] URL", FLAGS) + "\n")
        return 0
    except FlagError as error:
        sys.stderr.write(f"hey: {error}\n")
        return 1
    if ignored:
        sys.stderr.write(f"hey: what stands after the URL is not read: {' '.join(ignored)}\n")
    load = asyncio.run(send_load(plan, detailed=report == "csv"))
    try:
        if report == "csv":
            sys.stdout.writelines(f"{line}\n" for line in csv_lines(load.results))
        else:
            sys.stdout.write(summary(load.results))
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the pipe has gone (`hey … | head`); nothing is left to say
    return 0


if __name__ == "__main__":
    sys.exit(main())
