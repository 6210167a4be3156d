"""Several gateway processes on one port: the kernel spreads connections over them.

One event loop uses one core; `--processes N` uses N. Each is a whole gateway with its own name;
this process only holds the port, and starts a new one for each that ends.
"""

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from penstock.errors import InvalidConfiguration, StoreUnavailable
from penstock.gateway.fronts.asgi import bound
from penstock.gateway.fronts.front import PortBusy
from penstock.gateway.fronts.http.front import DEFAULT_PORT as HTTP_PORT
from penstock.gateway.fronts.http.front import HttpFront
from penstock.gateway.fronts.server_certificates import ServerCertificates
from penstock.gateway.limits.memory import MemoryLimits
from penstock.process import machine
from penstock.process.child_process import role_environment
from penstock.process.forking.launch import Launch, Process, start_program
from penstock.process.forking.templates import Seed
from penstock.process.lifetime import adopt_orphans, say_ready, stop_signals
from penstock.settings import GatewaySettings
from penstock.transport.addresses import address_of
from penstock.transport.health import Health, telling_health

log = structlog.get_logger()

_RESTART_AFTER_S = 0.5
_QUICK_END_S = 5.0


async def run(settings: GatewaySettings, seed: Seed | None = None) -> None:
    """Run `settings.processes` gateways until told to stop.

    Args:
        seed: what they are forked from; None: they are started as programs.

    Raises:
        InvalidConfiguration: clients' shared memory belongs to one process, or the certificates
            cannot be used.
        PortBusy: somebody else serves there.
        StoreUnavailable: a gateway ended before it served; its own words are on standard error.
    """
    if settings.allow_client_shm:
        raise InvalidConfiguration(
            "--allow-client-shm needs --processes 1: a region is known to the process that "
            "registered it, and connections go to any"
        )
    # What is wrong with them is told once, and not by each process.
    ServerCertificates.of(settings)
    async with (
        stop_signals() as stop,
        _launch(seed) as launch,
        telling_health(settings.health_host, settings.health_port) as health,
    ):
        await _run(settings, launch, stop, health)


@contextlib.asynccontextmanager
async def _launch(seed: Seed | None) -> AsyncIterator[Launch]:
    if seed is None:
        yield start_program
        return
    adopt_orphans()
    try:
        yield seed.launch
    finally:
        await seed.close()


async def _run(
    settings: GatewaySettings, launch: Launch, stop: asyncio.Event, health: Health
) -> None:
    with _held_ports(settings) as ports, tempfile.TemporaryDirectory() as folder:
        ready = [Path(folder) / str(index) for index in range(settings.processes)]
        # One of them answers for metrics, which are the whole cluster's anyway.
        words = [_command(settings, ports, path, first=not i) for i, path in enumerate(ready)]
        environment = role_environment(
            settings.redis,
            settings.grpc_restricted_protocol,
            parent_key=settings.parent_key,
        )
        watchers = [
            asyncio.create_task(_keep(partial(launch, command, environment), path, stop))
            for command, path in zip(words, ready, strict=True)
        ]
        announcing = asyncio.create_task(_announce(settings, ports["port"], ready, health))
        try:
            await asyncio.gather(*watchers)
        finally:
            health.ready = False
            for task in (*watchers, announcing):
                task.cancel()
            await asyncio.gather(*watchers, announcing, return_exceptions=True)


@contextlib.contextmanager
def _held_ports(settings: GatewaySettings) -> Iterator[dict[str, Any]]:
    """Take the ports without listening, so that nobody else gets them meanwhile; as options."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(_held(settings.host, settings.port, "--port"))
        ports: dict[str, Any] = {"port": port, "http": False}
        if settings.admin_port is not None:
            held = _held(settings.admin_host, settings.admin_port, "--admin-port")
            ports["admin_port"] = stack.enter_context(held)
        if settings.http and HttpFront.is_installed():
            host = settings.http_host or settings.host
            wanted = HTTP_PORT if settings.http_port is None else settings.http_port
            try:
                ports["http_port"] = stack.enter_context(_held(host, wanted, "--http-port"))
                ports["http"] = True
            except PortBusy as busy:
                if settings.http_port is not None:
                    raise
                log.warning("no HTTP; --no-http says that none is wanted", reason=str(busy))
        yield ports


@contextlib.contextmanager
def _held(host: str, port: int, option: str) -> Iterator[int]:
    if port:
        # Not shared, so that it is refused where anybody has it.
        bound(host, port, option).close()
    with bound(host, port, option, shared=True) as holder:
        yield int(holder.getsockname()[1])


async def _keep(start: Callable[[], Awaitable[Process]], ready: Path, stop: asyncio.Event) -> None:
    """Keep one gateway process running until *stop*, then end it in order."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        started = loop.time()
        child = await start()
        ended = asyncio.create_task(child.wait())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not ended.done():
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(signal.SIGTERM)
                await ended
        if stop.is_set():
            return
        if not _served(ready) and loop.time() - started < _QUICK_END_S:
            raise StoreUnavailable("a gateway process ended before it served; see the lines above")
        log.warning("a gateway process ended, starting another", status=child.returncode)
        await asyncio.sleep(_RESTART_AFTER_S)


def _command(
    settings: GatewaySettings, ports: Mapping[str, Any], ready: Path, *, first: bool
) -> list[str]:
    own = {
        **ports,
        "shared_port": True,
        "processes": 1,
        "ready_file": ready,
        "http_file": settings.http_file if first else None,
        "health_port": None,
        "local_socket": settings.local_socket if first else None,
        "metrics": settings.metrics and first,
        # Their shares of what this machine has: one alone would take all of it.
        **MemoryLimits.of(settings, machine.memory_bytes()).options(),
    }
    return GatewaySettings.child_command({**dict(settings), **own})


def _served(ready: Path) -> bool:
    return ready.exists()


async def _announce(
    settings: GatewaySettings, port: int, ready: list[Path], health: Health
) -> None:
    while not all(map(_served, ready)):  # noqa: ASYNC110 - other processes write the files
        await asyncio.sleep(0.02)
    health.ready = True
    say_ready(settings.ready_file, address_of(settings.host, port))
