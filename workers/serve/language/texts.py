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

_AGAIN_S: Final = 1.0


async def keep_texts(
    load_requests: LoadRequests, texts: Mapping[str, bytes], kept: asyncio.Event
) -> None:
    """Keep *texts* under their digests, again and again, until cancelled; *kept* says since when.

    Nobody may be told that the model is ready before: gateways could make no text of its tokens.
    """
    while True:
        try:
            for text in texts.values():
                await load_requests.keep(text)
        except PenstockError as error:
            log.warning("the texts of the model cannot be kept", error=str(error))
            await asyncio.sleep(_AGAIN_S)
        else:
            kept.set()
            await asyncio.sleep(_EVERY_S)
