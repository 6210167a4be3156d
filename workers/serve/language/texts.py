"""Texts of a language model, kept in the registry for gateways for as long as a worker has it."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from penstock.errors import PenstockError
from penstock.scheduler.registry.load_requests import UNREQUESTED_MS, LoadRequests

log = structlog.get_logger()

_EVERY_S: Final = UNREQUESTED_MS / 1000 / 10
"""A registry that lost its data has them again within this."""


async def keep_texts(load_requests: LoadRequests, texts: Mapping[str, bytes]) -> None:
    """Keep *texts* under their digests, again and again, until cancelled."""
    while True:
        for text in texts.values():
            try:
                await load_requests.keep(text)
            except PenstockError as error:
                log.warning("the texts of the model cannot be kept", error=str(error))
        await asyncio.sleep(_EVERY_S)
