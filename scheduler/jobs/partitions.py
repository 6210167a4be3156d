"""The partitions of one keyspace: which of them has a model's jobs, and the link to it."""

import asyncio
from typing import Any

from penstock.scheduler.store.conversation import Argument
from penstock.scheduler.store.keys import PartitionKeys, partition_keys, partition_of
from penstock.scheduler.store.link import Link, Links
from penstock.scheduler.store.scripts import Script


class Partitions:
    """What works on the jobs of all models.

    Attributes:
        partitions: how many there are.
    """

    def __init__(self, links: Links, partitions: int) -> None:
        self._links = links
        self.partitions = partitions

    def keys_of(self, model: str) -> PartitionKeys:
        """The keys of the partition that holds the model's jobs."""
        return partition_keys(partition_of(model, self.partitions))

    def link_of(self, model: str) -> Link:
        """The shared link to that partition."""
        return self.link_to(self.keys_of(model))

    def link_to(self, keys: PartitionKeys) -> Link:
        """The shared link to the partition that has these keys."""
        return self._links.to(keys.tag)

    def call(
        self, keys: PartitionKeys, script: Script, *words: Argument, at_once: bool = False
    ) -> "asyncio.Future[Any]":
        """Run *script* in the partition that has these keys; as `Link.call`."""
        return self.link_to(keys).call(script, keys.prefix, words, at_once=at_once)
