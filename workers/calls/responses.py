"""The responses to one call, asked for on a thread and made on the worker's event loop."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Self

from penstock.workers.runtimes.triton_python.responses import InferenceResponse


class CallResponses:
    """An iterator that waits for each response."""

    def __init__(
        self,
        responses: AsyncGenerator[InferenceResponse, None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._responses = responses
        self._loop = loop
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> InferenceResponse:
        if not self._over:
            coming = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            response = coming.result()
            if response is not None:
                return response
            self._over = True
        raise StopIteration

    def cancel(self) -> None:
        """Want no more of them: the called model's work for them ends."""
        self._over = True
        asyncio.run_coroutine_threadsafe(self._responses.aclose(), self._loop)

    async def _next(self) -> InferenceResponse | None:
        return await anext(self._responses, None)
