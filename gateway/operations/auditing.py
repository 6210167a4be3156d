"""Auditing: what callers do that concerns others is written down, with its result."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

import structlog

from penstock.errors import Code, PenstockError
from penstock.gateway.access.caller import Caller
from penstock.scheduler.registry.audit import AuditLog

log = structlog.get_logger()

T = TypeVar("T")

_MODEL: Final = ("RepositoryModelLoad", "RepositoryModelUnload")
_SETTINGS: Final = ("TraceSetting", "LogSettings")
_REGION: Final = ("SharedMemoryRegister", "SharedMemoryUnregister")


def object_of(name: str, request: Any) -> str | None:
    """What the RPC *name* is about to change; None where it only looks."""
    if name in _MODEL:
        return str(request.model_name)
    if name in _SETTINGS:
        # Without settings it asks for those that there are.
        return ", ".join(sorted(request.settings)) or None
    if name.endswith(_REGION):
        return str(request.name)
    return None


class Auditing:
    """The audit log, as a gateway writes it."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._writing: set[asyncio.Task[None]] = set()

    async def noted(
        self, caller: Caller, connection: str, act: tuple[str, str], doing: Awaitable[T]
    ) -> T:
        """What *doing* gives; how it ended is in the log once this returns.

        Args:
            act: what is done, and to what.
        """
        result = Code.CANCELLED.name
        try:
            found = await doing
        except Exception as error:
            result = error.code.name if isinstance(error, PenstockError) else Code.INTERNAL.name
            raise
        else:
            result = Code.OK.name
            return found
        finally:
            who = f"{caller.name}/{caller.key}" if caller.name else f"anybody at {connection}"
            # Whoever gives up meanwhile has done it all the same.
            task = asyncio.create_task(self._write(who, act, result))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
            await asyncio.shield(task)

    async def _write(self, who: str, act: tuple[str, str], result: str) -> None:
        try:
            entry = await self._audit.append(who, *act, result)
            log.info(
                "audit", who=who, act=act[0], object=entry.object, result=result, hash=entry.hash
            )
        except PenstockError as error:
            log.error("an act is not in the audit log", who=who, act=act, error=str(error))  # noqa: TRY400
