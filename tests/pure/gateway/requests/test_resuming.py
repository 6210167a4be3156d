"""Answers that are asked for from the middle on: the rest of the whole, to the byte."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clients.answers import request
from support.models import tiny_language

from penstock.errors import InvalidRequest, Unimplemented
from penstock.gateway.access.caller import Caller
from penstock.gateway.requests.language.answer import Prompted, Resumed
from penstock.gateway.requests.language.resuming import Resume, refuse_to_resume, resume_of
from penstock.language.options import DecodingOptions
from penstock.language.payload import CALLER
from penstock.language.tokenizer import Tokenizer
from penstock.protos import grpc_service_pb2 as pb

TEXT = "naïve café 日本語 🙂 hello the end of it all"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(tiny_language.tokenizer()[0])


def prompted(tokenizer, stop=()):
    """A request without a store behind it."""
    served = SimpleNamespace(id=SimpleNamespace(model="tiny", version=1))
    asked = SimpleNamespace(
        served=served, parts=SimpleNamespace(id="a"), request=pb.ModelInferRequest()
    )
    language = SimpleNamespace(tokenizer=tokenizer, manifest=SimpleNamespace(end_tokens=(0,)))
    options = DecodingOptions.of({"stop": list(stop), "seed": 1})
    return Prompted(asked, language, options, [5, 6])


class Said:
    """What the responses from a token on said."""

    def __init__(self, tokenizer, tokens, begin, cuts=(), stop=()):
        self.text, self.tokens, self.at, self.concluded = "", [], [], 0
        self.about = {}
        asyncio.run(self._listen(prompted(tokenizer, stop), tokens, begin, sorted(cuts)))

    async def _conclude(self):
        self.concluded += 1

    async def _listen(self, asked, tokens, begin, cuts):
        async def log():
            for start, end in zip([0, *cuts], [*cuts, len(tokens)], strict=True):
                if tokens[start:end]:
                    yield np.asarray(tokens[start:end], "<u4").tobytes()

        async for part in asked.parts(log(), Resumed(begin, 17, self._conclude)):
            if not part.final:
                self._take(pb.ModelInferResponse.FromString(part.body))

    def _take(self, response):
        text, tokens = response.raw_output_contents
        self.text += text[4:].decode()
        self.tokens += np.frombuffer(tokens, "<i8").tolist()
        self.at.append((response.parameters["penstock_at"].int64_param, len(self.text)))
        assert response.parameters["penstock_began"].int64_param == 17
        self.about = response.parameters


@given(st.data())
def test_whoever_goes_on_from_where_they_were_has_the_same(tokenizer, data):
    tokens = tokenizer.encode(TEXT, special=False)
    stop = data.draw(st.sampled_from([(), ("the end",), ("🙂",), ("zzz",)]))
    whole = Said(tokenizer, tokens, 0, range(1, len(tokens)), stop)
    # All but the last response may have come.
    begin, had = data.draw(st.sampled_from([(0, 0), *whole.at[:-1]]))
    cuts = data.draw(st.lists(st.integers(0, len(tokens)), max_size=4))

    rest = Said(tokenizer, tokens, begin, cuts, stop)

    assert whole.text[:had] + rest.text == whole.text
    assert whole.tokens[:begin] + rest.tokens == whole.tokens
    assert rest.about == whole.about
    assert rest.concluded == whole.concluded == (stop in (("the end",), ("🙂",)))


def test_a_job_says_whose_it_is(tokenizer):
    """What is computed for it is of use to nobody else."""
    asked = prompted(tokenizer)
    asked.asked.call = SimpleNamespace(caller=Caller("a team"))

    job = pb.ModelInferRequest.FromString(asked.payload)
    assert job.parameters[CALLER].string_param == "a team"


def test_behind_its_end_there_is_nothing(tokenizer):
    tokens = tokenizer.encode("hello", special=False)

    with pytest.raises(InvalidRequest, match="penstock_from is 9: the answer has"):
        Said(tokenizer, tokens, 9)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"penstock_from": 3}, "penstock_from needs penstock_resume"),
        ({"penstock_resume": ""}, "penstock_resume must be a text of 1 to 255"),
        ({"penstock_resume": 7}, "penstock_resume must be a text of 1 to 255"),
        ({"penstock_resume": "a b"}, "no spaces"),
        ({"penstock_resume": "a" * 256}, "1 to 255"),
        ({"penstock_resume": "a", "penstock_from": -1}, "a number of tokens, from 0"),
        ({"penstock_resume": "a", "penstock_from": "3"}, "a number of tokens, from 0"),
    ],
)
def test_names_and_places_that_cannot_be_are_refused(parameters, message):
    with pytest.raises(InvalidRequest, match=message):
        resume_of(request("tiny", "hello", **parameters))


def test_a_name_may_stand_alone_or_with_a_place():
    assert resume_of(request("tiny", "hello")) is None
    assert resume_of(request("tiny", "x", penstock_resume="a")) == Resume("a", 0)
    both = request("tiny", "x", penstock_resume="a", penstock_from=4)
    assert resume_of(both) == Resume("a", 4)


def test_replies_of_other_models_are_not_resumed():
    with pytest.raises(Unimplemented, match="for language models"):
        refuse_to_resume(request("digits", "x", penstock_resume="a"))
