"""Texts of a language model: whoever is told that it is ready can fetch them."""

import asyncio
import contextlib
import hashlib

from penstock.errors import StoreUnavailable
from penstock.protos import cluster_pb2
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.store.link import Links
from penstock.workers.serve.language import texts as kept_texts
from penstock.workers.serve.language.texts import keep_texts

TEXTS = {"tokenizer.json": b"{}" * 1000, "language.json": b"[]"}


class Refusing(LoadRequests):
    """The store takes nothing the first time."""

    tries = 0

    async def keep(self, content):
        self.tries += 1
        if self.tries == 2:
            raise StoreUnavailable("it is away")
        return await super().keep(content)


async def test_they_are_there_before_anybody_is_told(redis_url, monkeypatch):
    monkeypatch.setattr(kept_texts, "_AGAIN_S", 0.01)
    kept = asyncio.Event()
    async with Links(redis_url) as links:
        load_requests = Refusing(links)
        keeping = asyncio.create_task(keep_texts(load_requests, TEXTS, kept))
        async with asyncio.timeout(20):
            await kept.wait()
        for text in TEXTS.values():
            digest = hashlib.blake2b(text, digest_size=16).hexdigest()
            file = cluster_pb2.File(path="text", digest=digest, size=len(text))
            assert await load_requests.fetch(file) == text
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping

    assert load_requests.tries == 1 + 1 + len(TEXTS)
