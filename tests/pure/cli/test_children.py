"""What roles write is shown, whatever it is."""

import asyncio
import os

from support.waiting import until

from penstock.cli.serve.children import Child
from penstock.settings import GatewaySettings


async def test_a_line_that_is_too_long_does_not_silence_its_role(tmp_path):
    said = []
    child = Child(GatewaySettings, {}, tmp_path / "ready", lambda _, text: said.append(text), {})
    relaying = asyncio.create_task(child._relay())

    def write():
        with os.fdopen(os.dup(child._writing), "wb") as pipe:
            pipe.write(b"x" * (3 << 20) + b"\nafter it\n")

    await asyncio.wait_for(asyncio.to_thread(write), 20)
    await until(lambda: "after it" in said)

    assert any("is left out" in text for text in said)
    os.close(child._writing)
    await asyncio.wait_for(relaying, 20)
