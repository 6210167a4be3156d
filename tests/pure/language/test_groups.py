"""Groups of stages that speak in messages: each answer is that of one process, alone.

Head, later stages and messages are those of workers; only the way between them is a list here.
"""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients.wired_group import CAPACITY, SLOTS, Group

from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.workers.language.answer import Answer
from penstock.workers.language.batch import Batch
from penstock.workers.language.changes import Move, Swap, Take
from penstock.workers.language.engine import Engine
from penstock.workers.language.head import GroupBroken
from penstock.workers.language.later import OutOfStep
from penstock.workers.language.message import (
    Message,
    Said,
    Unreadable,
    epoch_of,
    message_in,
    packed_message,
    packed_tokens,
    tokens_in,
)
from penstock.workers.language.pipeline import Pipeline

TOKENS = 12
PROMPTS = [[9, 80, 33], [77], list(range(100, 140)), [5, 5, 5, 9, 9, 200, 31]]
GREEDY = DecodingOptions(max_tokens=TOKENS, ignore_end=True)
DRAWN = DecodingOptions(
    max_tokens=TOKENS, ignore_end=True, temperature=1.3, top_p=0.95, seed=3, presence_penalty=0.5
)
STRUCTURED = DecodingOptions.of(
    {
        "max_tokens": TOKENS,
        "temperature": 1.1,
        "seed": 5,
        "structured_outputs": {
            "json": {"type": "array", "items": {"enum": [1, "b"]}, "minItems": 9}
        },
    }
)


@pytest.fixture(scope="module", params=[1, 2, 3], ids="{} stages".format)
def group(versions, request):
    return Group(versions[request.param])


@pytest.fixture
def two(versions):
    return Group(versions[2])


@pytest.fixture(scope="module")
def alone(versions):
    """(prompt, options) -> the answer's tokens, in one process, when nothing else runs."""
    model = Pipeline.open(versions[1], read_manifest(versions[1]), 1, CAPACITY, threads=1)
    found = {}
    for options in (GREEDY, DRAWN, STRUCTURED):
        for number, prompt in enumerate(PROMPTS):
            answer = Answer(list(prompt), options)
            engine = Engine(model, ())
            engine.admit(answer)
            _run(engine)
            found[number, options.temperature] = answer.log
    return found


def _run(engine):
    while not engine.is_idle:
        engine.step()


def _ask(engine, *numbers, options=GREEDY):
    answers = [Answer(list(PROMPTS[number]), options) for number in numbers]
    for answer in answers:
        engine.admit(answer)
    return answers


asked = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([GREEDY, DRAWN, STRUCTURED]), st.integers(0, 15)),
    min_size=1,
    max_size=7,
)
at_steps = st.dictionaries(st.integers(1, 25), st.integers(0, 3), max_size=4)


@settings(max_examples=25, deadline=None)
@given(asked, st.integers(1, 50), at_steps, st.sets(st.integers(1, 25), max_size=3))
def test_an_answer_depends_on_nothing_but_its_request(
    group, alone, asked, chunk, evictions, deaths
):
    """Whatever runs beside it, however often it is evicted, at whatever steps the group dies."""
    coming = deque(sorted(asked, key=lambda one: one[2]))
    engine, answers, step = Engine(group.model(), (), chunk), [], 0
    while coming or not engine.is_idle:
        while coming and (coming[0][2] <= step or engine.is_idle):
            number, options, _ = coming.popleft()
            answers.append((*_ask(engine, number, options=options), number))
        engine.step()
        step += 1
        running = [one for one, _ in answers if len(one.log) < TOKENS]
        if step in deaths:
            engine = Engine(group.model(), (), chunk)
            for answer in running:
                engine.admit(answer)
            _deliver_something_old(group)
        elif running and step in evictions:
            evicted = running[evictions[step] % len(running)]
            engine.evict(evicted)
            engine.admit(evicted)

    for answer, number in answers:
        assert answer.log == alone[number, answer.options.temperature]


def _deliver_something_old(group):
    """The first message of the group before, whose stages have died or been stopped."""
    if group.wires.sent:
        group.wires.deliver(group.wires.sent[0])
        group.wires.sent.clear()


def test_a_message_of_another_group_changes_nothing(two, alone):
    """It comes after the new group's first steps, from a stage that was stopped meanwhile."""
    _ask(before := Engine(two.model(), ()), 2, 3)
    before.step()
    old = two.wires.sent[0]
    engine = Engine(two.model(), ())
    answers = _ask(engine, 0, 3)
    two.wires.deliver(old)
    engine.step()
    two.wires.deliver(old)
    _run(engine)

    assert [answer.log for answer in answers] == [alone[0, 0.0], alone[3, 0.0]]


def test_tokens_of_another_group_are_none_of_this_one(two, alone):
    old = Said(two.model() and two.wires.epoch, 0, [1])
    engine = Engine(two.model(), ())
    (answer,) = _ask(engine, 0)
    two.wires._said.append(b"".join(packed_tokens(old)))
    _run(engine)

    assert answer.log == alone[0, 0.0]


def test_the_same_workers_together_again_are_another_group():
    assert epoch_of(["a", "b"], 0) != epoch_of(["a", "b"], 1)
    assert epoch_of(["a", "b"], 0) != epoch_of(["b", "a"], 0)
    assert epoch_of(["a", "b"], 0) == epoch_of(["a", "b"], 0)


def test_a_stage_that_is_in_no_group_computes_nothing(two):
    _ask(engine := Engine(two.model(), ()), 0)
    engine.step()
    two.wires.epoch = b""
    two.wires._later[0].begin(b"")

    with pytest.raises(GroupBroken):
        engine.step()


def test_a_slot_that_is_filled_anew_has_nothing_of_the_answer_before(two, alone):
    """Penalties are those of its own log alone, on the last stage as well."""
    engine = Engine(two.model(), ())
    for number in (0, 1, 3, 2):
        (answer,) = _ask(engine, number, options=DRAWN)
        _run(engine)

        assert answer.log == alone[number, DRAWN.temperature]


def test_a_message_that_is_lost_ends_the_group(two):
    _ask(engine := Engine(two.model(), ()), 0)
    engine.step()
    two.wires.send = lambda _: None

    with pytest.raises(GroupBroken):
        engine.step()
    del two.wires.send
    with pytest.raises(OutOfStep, match="message 3 came in the place of 2"):
        engine.step()


def _message(*changes, slot=0, start=0, length=1, epoch=b"e" * 16, width=24, echoes=False):
    columns = np.zeros((1, length, width), np.float32)
    batch = Batch(columns, np.array([start], np.int64), slot, grows=not echoes, echoes=echoes)
    return Message(epoch, 0, changes, batch)


TAKEN = Take(0, Answer([5], GREEDY))


@pytest.mark.parametrize(
    "message",
    [
        _message(),
        _message(TAKEN, slot=1),
        _message(Take(SLOTS, Answer([5], GREEDY)), slot=SLOTS),
        _message(TAKEN, start=CAPACITY),
        _message(TAKEN, start=-1),
        _message(TAKEN, length=CAPACITY + 1),
        _message(TAKEN, width=23),
        _message(TAKEN, Move(1, 2, 3)),
        _message(TAKEN, Move(0, SLOTS, 3)),
        _message(TAKEN, Move(0, 1, CAPACITY + 1)),
        _message(TAKEN, echoes=True),
        _message(TAKEN, Swap(0, 1, 3)),
        _message(TAKEN, Swap(0, 0, CAPACITY + 1)),
    ],
)
def test_what_lies_outside_of_the_cache_is_not_computed(two, message):
    """Caches are bound by their addresses."""
    (later,) = two.wires._later
    later.begin(message.epoch)

    with pytest.raises(OutOfStep):
        later.run(message_in(b"".join(packed_message(message))))


def test_a_message_is_read_as_it_was_written():
    changes = Take(3, Answer([5, 6], DRAWN, [7])), Move(3, 1, 2), Swap(1, 3, 4)
    said = _message(*changes, slot=1, start=9, length=2)
    found = message_in(b"".join(packed_message(said)))
    take, *moves = found.changes

    assert (found.epoch, found.step, moves) == (said.epoch, 0, list(changes[1:]))
    assert (take.slot, take.answer.prompt, take.answer.log) == (3, [5, 6], [7])
    assert take.answer.options == DRAWN
    assert found.batch.columns.tobytes() == said.batch.columns.tobytes()
    assert found.batch.columns.ctypes.data % 4 == 0
    assert found.batch[2:] == said.batch[2:]
    tokens = Said(said.epoch, 4, [1, 2])
    assert tokens_in(b"".join(packed_tokens(tokens))) == tokens


@given(st.data())
def test_what_is_no_message_is_refused(data):
    whole = b"".join(packed_message(_message(Take(1, Answer([5, 6], DRAWN)), Move(1, 0, 2))))
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]

    with pytest.raises(Unreadable):
        message_in(cut)
    with pytest.raises(Unreadable):
        tokens_in(cut[:7])


@given(st.binary(max_size=300))
def test_no_bytes_make_more_of_a_message_than_they_have(content):
    try:
        message = message_in(content)
    except Unreadable:
        return

    assert message.batch.columns.nbytes <= len(content)
