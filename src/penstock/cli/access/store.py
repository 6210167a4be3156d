"""The store, as commands have it that work on it directly."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer

from penstock.errors import InvalidConfiguration
from penstock.transport.store_files import StoreFiles, with_files

if TYPE_CHECKING:
    from penstock.protos import cluster_pb2 as pb
    from penstock.scheduler.registry.access_keys import AccessKeys
    from penstock.scheduler.registry.audit import AuditLog

T = TypeVar("T")


class Store(NamedTuple):
    """The store, as these commands have it.

    Attributes:
        known: the keys that are there.
    """

    keys: "AccessKeys"
    known: "Mapping[str, pb.AccessKey]"
    audit: "AuditLog"

    async def note(self, done: str, record: "pb.AccessKey") -> None:
        """Write into the audit log what was done to a key."""
        await self.audit.append("store", done, f"{record.team}/{record.id}")


Redis = Annotated[
    str | None,
    typer.Option(
        envvar="PENSTOCK_REDIS",
        metavar="URL",
        show_envvar=False,
        help="The cluster's Redis or Valkey. Required, unless PENSTOCK_REDIS is set.",
    ),
]


def with_store(
    redis: str | None,
    act: "Callable[[Store], Awaitable[T]]",
) -> T:
    """What *act* makes of the store's keys."""
    from penstock.scheduler.registry.access_keys import AccessKeys
    from penstock.scheduler.registry.audit import AuditLog
    from penstock.scheduler.registry.registry import Registry
    from penstock.scheduler.store.link import Links

    async def run(url: str) -> T:
        async with Links(url) as links:
            snapshot = await Registry(links).snapshot()
            return await act(Store(AccessKeys(links), snapshot.access_keys, AuditLog(links)))

    return asyncio.run(run(url_of(redis)))


def url_of(redis: str | None) -> str:
    """Where the store is.

    Raises:
        InvalidConfiguration: nobody has said it.
    """
    from penstock.process.redaction import keep_password

    if redis is None:
        raise InvalidConfiguration(
            "this is kept in the cluster's store: name it by PENSTOCK_REDIS or with --redis "
            "('penstock up --auth keys' says where its own is)"
        )
    keep_password(redis)
    given = (os.environ.get(f"PENSTOCK_REDIS_{name.upper()}") for name in StoreFiles._fields)
    return with_files(redis, StoreFiles(*(Path(file) if file else None for file in given)))
