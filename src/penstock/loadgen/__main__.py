"""One process of a load: reads its plan from standard input, writes lines of JSON.

Order of the conversation (the other side is ``fleet``): the plan's length in a line, the plan,
``ready`` when connected, any line to begin, ``answered`` now and then, ``outcome``. Instead of the
last three, ``error``. The process ends when its standard input does.
"""

import asyncio
import json
import os
import sys
import threading
from typing import Any

from penstock.loadgen.generator import Generator, Unreachable, connected, new_event_loop
from penstock.loadgen.plan import Plan

_REPORT_EVERY_S = 0.25


def main() -> None:
    """Make the load that standard input asks for."""
    length = int(sys.stdin.buffer.readline() or 0)
    plan = Plan.from_bytes(sys.stdin.buffer.read(length))
    loop = new_event_loop(plan)
    try:
        loop.run_until_complete(_make(plan))
    except Unreachable as error:
        _say({"error": str(error)})
    finally:
        loop.close()


async def _make(plan: Plan) -> None:
    async with connected(plan) as calls:
        _say({"ready": True})
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.readline)
        threading.Thread(target=_end_with_input, daemon=True).start()
        generator = Generator(plan, calls)
        reporter = asyncio.create_task(_report(generator))
        outcome = await generator.run()
        reporter.cancel()
        _say({"outcome": outcome.as_json()})


async def _report(generator: Generator) -> None:
    while True:
        await asyncio.sleep(_REPORT_EVERY_S)
        _say({"answered": generator.outcome.answered})


def _end_with_input() -> None:
    """Whoever asked for the load is gone: stop at once."""
    # Not through the buffer, whose lock a thread must not hold when the interpreter ends.
    if not os.read(sys.stdin.fileno(), 1):
        os._exit(1)


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
