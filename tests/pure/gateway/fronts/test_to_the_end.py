"""What grpc.aio waits for comes to its end, also where nobody waits for it any more."""

import asyncio

import pytest

from penstock.transport.to_the_end import to_the_end


class Reading:
    """As a read of grpc.aio: what comes is freed behind the line that waits for it."""

    def __init__(self):
        self.came = asyncio.get_running_loop().create_future()
        self.freed = False

    async def run(self):
        message = await self.came
        await asyncio.sleep(0)
        self.freed = True
        return message


async def test_what_it_comes_to_is_given():
    reading = Reading()
    waiting = asyncio.create_task(to_the_end(reading.run()))
    await asyncio.sleep(0)
    reading.came.set_result(b"message")

    assert await waiting == b"message"


async def test_what_is_there_at_once_is_given_at_once():
    async def there():
        return b"message"

    assert await to_the_end(there()) == b"message"


async def test_its_error_is_raised():
    reading = Reading()
    waiting = asyncio.create_task(to_the_end(reading.run()))
    await asyncio.sleep(0)
    reading.came.set_exception(ValueError("broken"))

    with pytest.raises(ValueError, match="broken"):
        await waiting


async def test_it_is_freed_where_nobody_waits_any_more():
    """grpc.aio would keep a message of any size for ever, for each call that ends like this."""
    reading = Reading()
    waiting = asyncio.create_task(to_the_end(reading.run()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not reading.came.cancelled()

    reading.came.set_result(b"message")
    for _ in range(5):
        await asyncio.sleep(0)

    assert reading.freed
