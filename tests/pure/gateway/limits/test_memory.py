"""How many bytes a gateway holds follows the memory it may use, and what it holds is given back."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from support.waiting import until

from penstock.errors import Code, InvalidConfiguration
from penstock.gateway.limits import memory
from penstock.gateway.limits.memory import (
    ByteBudget,
    GatewayFull,
    MemoryLimits,
    MemoryWatch,
    pending_budget,
)
from penstock.settings import GatewaySettings

MIB = 1 << 20
GIB = 1 << 30


def limits(machine=4 * GIB, **given):
    return MemoryLimits.of(GatewaySettings(redis="redis://h", **given), machine)


def test_limits_are_shares_of_the_memory_that_the_process_may_use():
    assert limits(4 * GIB) == MemoryLimits(2 * GIB, 1 * GIB, GIB // 2, GIB // 8)
    assert limits(1 * GIB) == MemoryLimits(GIB // 2, GIB // 4, GIB // 8, GIB // 32)


def test_processes_on_one_machine_share_its_memory():
    assert limits(4 * GIB, processes=4).memory == GIB // 2


def test_each_limit_can_be_given():
    given = {
        "max_memory_mib": 1000,
        "max_pending_mib": 300,
        "max_unread_mib": 200,
        "max_stream_mib": 10,
    }

    assert limits(**given) == MemoryLimits(1000 * MIB, 300 * MIB, 200 * MIB, 10 * MIB)
    assert limits(**given).options() == given


def test_a_process_is_given_the_share_that_its_parent_found():
    found = limits(8 * GIB, processes=4)

    assert limits(8 * GIB, **found.options()) == found


def test_a_message_that_does_not_fit_into_the_memory_is_refused_at_the_start():
    with pytest.raises(InvalidConfiguration, match=r"--max-message-mib 64 .* --max-memory-mib 50"):
        limits(100 * MIB)


def test_a_budget_is_refused_beyond_its_limit_and_given_back():
    budget = ByteBudget(100, "full")
    with budget.hold(40):
        with (
            budget.hold(60),
            pytest.raises(GatewayFull, match="full") as refused,
            budget.hold(1),
        ):
            pass
        with budget.hold(50):
            held = budget.held

    assert refused.value.code is Code.UNAVAILABLE
    assert refused.value.retry_after_ms == 100
    assert (held, budget.held, budget.refused) == (90, 0, 1)


def test_whoever_is_refused_hears_which_option_decides():
    budget = pending_budget(limits(max_pending_mib=1))

    with pytest.raises(GatewayFull, match="--max-pending-mib 1"), budget.hold(2 * MIB):
        pass


class Process:
    """A process's memory, as the test has it."""

    def __init__(self, held):
        self.held = held
        self.freed = self.given_back = 0

    def resident(self):
        return self.held

    def give_back(self):
        self.given_back += 1
        self.held -= self.freed
        self.freed = 0


@pytest.fixture
def process():
    return Process(100 * MIB)


@asynccontextmanager
async def looking(one):
    """*one* looks regularly until the end of the block; an entry for each look."""
    looks = []
    running = asyncio.create_task(one.run(lambda: looks.append(1)))
    try:
        yield looks
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def watch(process, *, busy=True):
    one = MemoryWatch(1000 * MIB, process.resident, process.give_back)
    one.busy = lambda: busy
    return one


async def test_freed_memory_is_given_back_before_anybody_is_refused(process):
    one = watch(process)
    process.held, process.freed = 1200 * MIB, 1000 * MIB

    await one.look()

    assert one.used == pytest.approx(0.2)
    assert one.resident_bytes == 200 * MIB


async def test_what_has_just_come_is_seen_and_refuses_nobody_before_freed_memory_is_back(process):
    one = watch(process)
    process.held = 950 * MIB
    one.see()
    tight = one.used
    process.held = 1200 * MIB
    one.see()

    assert tight == pytest.approx(0.95)
    assert one.used == 1.0


async def test_freed_memory_is_given_back_at_rest(process):
    one = watch(process, busy=False)
    process.held, process.freed = 400 * MIB, 300 * MIB

    await one.look()

    assert process.held == 100 * MIB


async def test_what_is_freed_after_the_last_message_is_given_back_as_well(process, monkeypatch):
    """What gRPC holds of a message is freed some time after its call has ended."""
    monkeypatch.setattr(memory, "TRIM_EVERY_S", 0.0)
    one = watch(process, busy=False)
    process.held = 400 * MIB
    await one.look()
    process.freed = 300 * MIB

    await one.look()

    assert process.held == 100 * MIB


async def test_a_large_process_at_rest_looks_for_freed_memory_less_and_less_often(process):
    one = watch(process, busy=False)
    process.held = 400 * MIB
    pauses = []
    for _ in range(12):
        one.gave_back_s = float("-inf")
        await one.look()
        pauses.append(one.pause_s)

    assert pauses[:3] == [1.0, 2.0, 4.0]
    assert pauses[-1] == memory.LONGEST_PAUSE_S


async def test_freed_memory_is_kept_while_messages_come_and_go(process):
    one = watch(process)
    process.held, process.freed = 400 * MIB, 300 * MIB

    await one.look()

    assert process.given_back == 0


async def test_nobody_is_refused_for_what_was_held_when_it_was_busy(process, monkeypatch):
    """Who is refused at once is no message that would have it look again."""
    monkeypatch.setattr(memory, "REST_LOOK_S", 60.0)
    one, held = watch(process), []
    one.busy = lambda: bool(held)
    held.append("a message")
    process.held = 1200 * MIB
    await one.look()
    assert one.used > 1
    held.clear()

    async with looking(one):
        await until(lambda: one.used == 0)


async def test_at_rest_it_looks_seldom_until_a_message_comes(process, monkeypatch):
    monkeypatch.setattr(memory, "REST_LOOK_S", 60.0)
    one = watch(process, busy=False)
    async with looking(one) as looks:
        await until(lambda: one.stirred._waiters)
        assert looks == []

        one.stirred.set()

        await until(lambda: looks)


@pytest.mark.parametrize(("held", "reading"), [(600 * MIB, False), (100 * MIB, True)])
async def test_it_looks_often_while_memory_goes_or_messages_come(
    held, reading, process, monkeypatch
):
    monkeypatch.setattr(memory, "CALM_LOOK_S", 60.0)
    one = watch(process)
    one.reading = lambda: reading
    process.held = held
    await one.look()

    async with looking(one) as looks:
        await until(lambda: len(looks) > 2)


async def test_it_looks_seldom_while_answers_alone_are_under_way(process, monkeypatch):
    """Each look is a turn of the event loop; answers of language models take minutes."""
    monkeypatch.setattr(memory, "CALM_LOOK_S", 60.0)
    one = watch(process)
    one.reading = lambda: False
    await one.look()

    async with looking(one) as looks:
        await until(lambda: one.stirred._waiters)
        assert looks == []
        one.stirred.set()

        await until(lambda: looks)


async def test_a_process_that_is_large_by_itself_goes_on_serving(process):
    one = watch(process, busy=False)
    process.held = 2000 * MIB

    await one.look()

    assert one.used == 0
