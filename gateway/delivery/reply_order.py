"""Reply order: answers of one model leave a gateway in the order in which its requests came.

For models with `preserve_ordering`. An answer that is ready waits for those of earlier requests,
refusals and failures among them; a request whose client has gone is waited for no more, but those
before it are.
"""

import asyncio
from collections.abc import Awaitable

from penstock.clock import Deadline
from penstock.errors import DeadlineExceeded


class ReplyOrder:
    """The requests of one model version in one gateway process."""

    def __init__(self) -> None:
        self._last: asyncio.Future[None] | None = None

    async def keep(self, answering: Awaitable[bytes], deadline: Deadline | None = None) -> bytes:
        """The answer, or what is raised instead of it, once all earlier ones have been given.

        Raises:
            DeadlineExceeded: earlier ones have not been given by *deadline*.
        """
        before, turn = self._last, asyncio.get_running_loop().create_future()
        self._last = turn
        try:
            try:
                answer = await answering
            except Exception:
                await _given(before, deadline)
                raise
            if not await _given(before, deadline):
                raise DeadlineExceeded("the deadline passed while earlier requests were computed")
            return answer
        finally:
            if before is None or before.done():
                turn.set_result(None)
            else:
                before.add_done_callback(lambda _: turn.set_result(None))


async def _given(before: "asyncio.Future[None] | None", deadline: Deadline | None) -> bool:
    """Wait for *before*, until the deadline at most; whether it has come."""
    if before is None:
        return True
    left_s = None if deadline is None else max(0.0, deadline.remaining_s())
    done, _ = await asyncio.wait({before}, timeout=left_s)
    return bool(done)
