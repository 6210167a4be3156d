"""All roles on this machine, as processes that begin together and end in order."""

import asyncio
import contextlib
import os
from typing import Final, Literal, Self

from penstock.cli.serve.children import Child, Say
from penstock.cli.serve.template import ROLES
from penstock.gateway.access.api_key import mint, new_id
from penstock.process.child_process import RULES, role_environment
from penstock.process.forking.templates import Seed, Templates
from penstock.process.lifetime import adopt_orphans, kill_descendants, reap_strangers
from penstock.process.private_directories import runtime_home, temporary_directory
from penstock.scheduler.store.embedded import EmbeddedStore
from penstock.settings import GatewaySettings, NodeSettings, SchedulerSettings, UpSettings
from penstock.transport.addresses import reachable

# What each may take to end what it has begun; the gateway's own drain takes up to 10 s.
_PATIENCE_S: Final = {"gateway": 15.0, "node": 20.0, "scheduler": 5.0}


class LocalCluster:
    """Store, scheduler, node and gateway, all started at once while the context is entered.

    Leaving it ends the gateway first, which answers what it has accepted; then the node with its
    workers, the scheduler, and the store last. No process is left.

    Attributes:
        key: by which this process may ask the gateway how the cluster is.
        redis: where the store is.
    """

    def __init__(self, settings: UpSettings, say: Say, seed: Seed | None = None) -> None:
        """*seed*: where the template of roles comes from; None: it is started as a program."""
        self._settings = settings
        self._say = say
        self._store: EmbeddedStore | None = None
        self._children: dict[str, Child] = {}
        self.key = mint(new_id()).text
        self.redis = settings.redis or ""
        self._local_url: str | None = None
        self._templates = Templates(seed)

    async def __aenter__(self) -> Self:
        adopt_orphans()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(kill_descendants, os.getpid())
            await stack.enter_async_context(self._templates)
            run = stack.enter_context(temporary_directory(runtime_home(), "penstock-up-")).path
            redis = self._settings.redis
            if redis is None:
                store = EmbeddedStore(self._settings.data)
                self._store = await stack.enter_async_context(store)
                self.redis = redis = store.url
            self._files = {kind: run / kind for kind in ("metrics", "http")}
            files = {f"{kind}_file": path for kind, path in self._files.items()}
            # Ports with TLS may want a certificate, which this process has none of.
            local = run / "gateway.sock" if self._settings.tls_cert else None
            self._local_url = f"unix:{local}" if local else None
            options = {**dict(self._settings), **files, "local_socket": local}
            self._children = {
                kind.role: Child(
                    kind,
                    options,
                    run / kind.role,
                    self._say,
                    self._environment(kind.role, redis),
                    self._templates.launch_for(ROLES),
                )
                for kind in (SchedulerSettings, NodeSettings, GatewaySettings)
            }
            self._keeping = [asyncio.create_task(c.keep()) for c in self._children.values()]
            self._reaping = asyncio.create_task(reap_strangers(self._own))
            stack.push_async_callback(self._end)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def address(self) -> str:
        """Where the gateway serves, once it does."""
        gateway = self._children["gateway"]
        while not gateway.ready_file.exists():  # noqa: ASYNC110 another process writes it
            await asyncio.sleep(0.02)
        address = gateway.ready_file.read_text().strip()
        # Its next lives serve where clients know it, if the port was any free one.
        gateway.options["port"] = address.rpartition(":")[2]
        return address

    def own_url(self, address: str) -> str:
        """Where this process itself asks the gateway that serves at *address*."""
        return self._local_url or reachable(address)

    def address_of(self, kind: Literal["metrics", "http"]) -> str | None:
        """Where metrics, or the REST protocol, are served; None if they are not."""
        if not self._files[kind].exists():
            return None
        address = self._files[kind].read_text().strip()
        port = f"{kind}_port"
        if getattr(self._settings, port) == 0:
            # Its next lives serve there as well.
            self._children["gateway"].options[port] = address.rpartition(":")[2]
        return address

    async def failed(self) -> None:
        """Wait until a role refuses to begin.

        Raises:
            RoleFailed: it does.
        """
        await asyncio.gather(*self._keeping)

    def _environment(self, role: str, redis: str) -> dict[str, str]:
        if role != "gateway":
            return role_environment(redis)
        made = role_environment(redis, parent_key=self.key)
        if RULES in os.environ:
            made[RULES] = os.environ[RULES]
        return made

    async def _end(self) -> None:
        for task in (*self._keeping, self._reaping):
            task.cancel()
        # First stop watching all of them: none may be started again meanwhile.
        await asyncio.gather(*self._keeping, self._reaping, return_exceptions=True)
        for role, patience_s in _PATIENCE_S.items():
            await self._children[role].end(patience_s)

    def _own(self) -> set[int]:
        pids = [child.pid for child in self._children.values()]
        pids += [*self._templates.pids, self._store.pid if self._store else None]
        return {pid for pid in pids if pid is not None}
