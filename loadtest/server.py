"""The load tester's process: routes, start, graceful end. `canary-loadtester` and `python -m loadtest` come here.

aiohttp's run_app was rejected: it ends requests before we can end their commands, and knows nothing of our logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import prometheus_client
from aiohttp import web

from loadtest.access import AccessError, NamespaceFilter, TokenGuard
from loadtest.commands import LAUNCHERS
from loadtest.gate_file import FileKeeping
from loadtest.gate_routes import GateRoutes
from loadtest.gates import GateError, GateKeeping, GateStore, MemoryKeeping
from loadtest.goflags import FlagError, HelpRequested
from loadtest.logs import configure_logs, log
from loadtest.options import Options, read_options, usage
from loadtest.process import adopt_orphans
from loadtest.request_guard import MAX_BODY, Handler, guard, text
from loadtest.runner import Runner
from loadtest.shim import HeyShim
from loadtest.task_routes import TaskRoutes
from loadtest.telemetry import Telemetry
from loadtest.units import now

_DRAIN_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """The web application and the runner whose commands must end before it does."""

    app: web.Application
    runner: Runner


def build_service(options: Options, *, path: str) -> Service:
    """Everything but the socket. Raises GateError (state unreadable) and AccessError (token unreadable)."""
    telemetry = Telemetry()
    store = GateStore(_keeping(options), clock=now)
    telemetry.watch_gates(store.all, clock=now)
    runner = Runner(
        telemetry,
        path=path,
        timeout=options.timeout,
        max_concurrency=options.max_concurrency,
        max_output=options.max_output,
    )
    namespaces = NamespaceFilter(options.namespace_regexp)
    tokens = TokenGuard(token=options.token, token_file=options.token_file)
    app = web.Application(client_max_size=MAX_BODY, middlewares=[guard(tokens)])
    app.router.add_route("*", "/healthz", _healthz)
    app.router.add_route("*", "/metrics", _metrics_of(telemetry))
    GateRoutes(store, namespaces).add_to(app.router)
    TaskRoutes(runner, namespaces=namespaces, telemetry=telemetry, allowed=options.allow_cmd, path=path).add_to(app.router)
    return Service(app=app, runner=runner)


def _keeping(options: Options) -> GateKeeping:
    if options.state_dir is None:
        return MemoryKeeping()
    keeping = FileKeeping(options.state_dir)
    keeping.prepare()
    return keeping


async def _healthz(_: web.Request) -> web.Response:
    return text(200, "OK")


def _metrics_of(telemetry: Telemetry) -> Handler:
    async def metrics(_: web.Request) -> web.Response:
        body = await asyncio.to_thread(prometheus_client.generate_latest, telemetry.registry)
        return web.Response(body=body, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})

    return metrics


async def listen(service: Service, *, host: str, port: int) -> web.AppRunner:
    """Open the port; the caller ends it with `cleanup()`. Raises OSError when it cannot be opened."""
    # Without handler_cancellation a blocking command would outlive the hook that waited for it.
    web_runner = web.AppRunner(service.app, access_log=None, handler_cancellation=True, shutdown_timeout=_DRAIN_SECONDS)
    await web_runner.setup()
    try:
        await web.TCPSite(web_runner, host or None, port).start()
    except OSError:
        await web_runner.cleanup()
        raise
    return web_runner


def address_of(web_runner: web.AppRunner) -> str:
    """`host:port` of the open port, as a URL wants it."""
    host, port = web_runner.addresses[0][:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def serve(options: Options) -> None:
    """Listen until SIGTERM or SIGINT, then end all commands and requests. Raises OSError when the port is taken."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    with HeyShim(os.environ.get("PATH", os.defpath)) as shim:
        service = build_service(options, path=shim.path)
        web_runner = await listen(service, host=options.host, port=options.port)
        log.info("starting HTTP server", extra={"address": address_of(web_runner)})
        try:
            await stopped.wait()
            log.info("shutting down: ending the tasks")
            await service.runner.shutdown()
        finally:
            await web_runner.cleanup()
    log.info("HTTP server stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; 0 after a graceful end, 1 when it cannot start, 2 for a wrong command line."""
    try:
        options = read_options(sys.argv[1:] if arguments is None else arguments)
    except HelpRequested:
        sys.stdout.write(usage() + "\n")
        return 0
    except FlagError as error:
        sys.stderr.write(f"canary-loadtester: {error}\n")
        return 2
    configure_logs(level=options.log_level, encoding=options.zap_encoding)
    _warn_of_risks(options)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    adopt_orphans()
    try:
        asyncio.run(serve(options))
    except (GateError, AccessError) as error:
        log.critical("%s", error)
        return 1
    except OSError as error:
        log.critical("cannot listen on port %d: %s", options.port, os.strerror(error.errno) if error.errno else error)
        return 1
    return 0


def _warn_of_risks(options: Options) -> None:
    if not options.token and not options.token_file:
        log.warning("no token is set: whoever can reach this port can run commands here")
    if launchers := sorted(LAUNCHERS.intersection(options.allow_cmd)):
        log.warning("the allow-list holds programs that start any other program: %s", ", ".join(launchers))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
