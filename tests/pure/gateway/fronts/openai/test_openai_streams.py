"""Streams of answers that may be resumed: what their chunks have in common."""

import json

from penstock.gateway.fronts.http.openai.answers import Piece, Stream
from penstock.gateway.fronts.http.openai.places import Place, Resumable
from penstock.gateway.fronts.http.openai.requests import request_for, resume
from penstock.gateway.fronts.http.openai.shapes import Choice, Envelope
from penstock.gateway.replies.content_digest import content_digest


class Written:
    """An exchange that keeps what is sent."""

    def __init__(self):
        self.began, self.sent = False, b""

    async def begin(self, *_):
        self.began = True

    async def send(self, content, *, more):
        del more
        self.sent += content


async def _answer(index, began_s):
    yield Piece(index, "a", None, 1, began_s)
    yield Piece(index, "b", Choice("", "stop", 1, 2), 2, began_s)


async def test_all_chunks_have_one_time_though_one_answer_began_later():
    envelope = Envelope("chatcmpl-1", 99, "tiny", chat=True, counted=True)
    exchange, resumable = Written(), Resumable("name", (Place(), Place()))

    await Stream(exchange, envelope, 1, resumable).send([_answer(0, 17), _answer(1, 18)])

    data = [line[6:] for line in exchange.sent.decode().splitlines() if line.startswith("data: ")]
    times = [json.loads(one)["created"] for one in data[:-1]]
    assert len(times) > 6
    assert set(times) == {17}


def test_when_an_answer_began_is_no_part_of_what_was_asked():
    asked = [request_for("tiny", "hello", {}) for _ in range(2)]
    for request, now_s in zip(asked, (17, 18), strict=True):
        resume(request, "name", 0, now_s)

    first, second = asked
    assert first != second
    assert content_digest(first, None) == content_digest(second, None)
