"""Resuming: an answer of a language model that has a name outlives its gateway (ADR 0046).

Whoever asks for the same name again, through any gateway, has the same answer from the token on
that they say. Pure but for what the store has.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Final, NamedTuple

import numpy as np

from penstock.errors import Code, InvalidRequest, KeyReused, PenstockError, Unimplemented
from penstock.gateway.replies.content_digest import (
    BACKGROUND_PARAMETER,
    BEGAN_PARAMETER,
    CANCEL_PARAMETER,
    FROM_PARAMETER,
    INPUT_PARAMETER,
    RESUME_PARAMETER,
    WHOLE_PARAMETER,
    content_digest,
    keyed_digest,
)
from penstock.gateway.replies.resumable import ResumableJob
from penstock.gateway.replies.shared import Sharing
from penstock.gateway.requests.idempotency import LONGEST_KEY, is_printable
from penstock.gateway.requests.language.answer import Prompted, Resumed, cut_at
from penstock.gateway.requests.language.languages import Languages
from penstock.gateway.requests.language.measures import measured
from penstock.gateway.requests.language.prompts import read_prompt
from penstock.gateway.requests.reading import Asked
from penstock.language.payload import OPTIONS, options_from_json, options_to_json
from penstock.models.refs import StageRef, suffix
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.shared_replies import Shared
from penstock.scheduler.jobs.types import LogTokens, NewJob
from penstock.scheduler.requests.counters import GatewayCounters
from penstock.scheduler.requests.parts import Part
from penstock.scheduler.requests.token_log import TokenLog

_DIGEST: Final = "penstock_digest"
_CONTENT: Final = "penstock_content"
_CALLS: Final = "penstock_calls"
"""Parameters of a kept request: what its client asked, which content of the model answers, and
whether it may call functions.
"""


class AnswerNotFound(PenstockError):
    """There is no answer of this name, or none any more."""

    code = Code.NOT_FOUND


class AnswerOfOther(PenstockError):
    """Another content of the model has begun the answer: its text would go on differently."""

    code = Code.FAILED_PRECONDITION


class Resume(NamedTuple):
    """An answer by its *name*; its client has the first *begin* tokens.

    Attributes:
        whole: what the client has comes once more, as parts of its own.
        background: it goes on while nobody listens.
        cancel: it ends where it is.
    """

    name: str
    begin: int
    whole: bool = False
    background: bool = False
    cancel: bool = False


class Opened(NamedTuple):
    """An answer that is about to come.

    Attributes:
        log: takes its tokens.
        sink: where its job goes; None for where most go.
        begins: it does here; otherwise others have begun it.
        resumed: how it goes on; None where it has no name.
        cut: a part of the reply ends with so many tokens.
    """

    prompted: Prompted
    job: NewJob
    log: TokenLog
    begins: bool = True
    sink: ResumableJob | None = None
    resumed: Resumed | None = None
    cut: int = 0

    async def parts(
        self, log: AsyncIterator[bytes], counters: GatewayCounters
    ) -> AsyncGenerator[Part, None]:
        """The parts of the reply, made of *log*; of one that begins here it is counted when."""
        prompted = self.prompted
        if self.begins:
            counts = len(prompted.tokens), prompted.entry_bytes, prompted.prompt_entries
            own = measured(log, counters, self.job.ref, *counts)
        else:
            own = cut_at(log, self.cut * prompted.entry_bytes)
        async with aclosing(own) as pieces:
            async for part in prompted.parts(pieces, self.resumed, lambda: self.log.end):
                yield part


def resume_of(request: pb.ModelInferRequest) -> Resume | None:
    """Which answer *request* is for, if it has a name.

    Raises:
        InvalidRequest: it names one in a way that cannot be.
    """
    given = request.parameters
    if RESUME_PARAMETER not in given:
        if FROM_PARAMETER in given:
            raise InvalidRequest(f"{FROM_PARAMETER} needs {RESUME_PARAMETER}, the answer's name")
        return None
    name = given[RESUME_PARAMETER].string_param
    if not 1 <= len(name) <= LONGEST_KEY or not is_printable(name):
        raise InvalidRequest(
            f"{RESUME_PARAMETER} must be a text of 1 to {LONGEST_KEY} printable ASCII characters, "
            "no spaces"
        )
    begin = 0
    if FROM_PARAMETER in given:
        value = given[FROM_PARAMETER]
        begin = value.int64_param
        if value.WhichOneof("parameter_choice") != "int64_param" or begin < 0:
            raise InvalidRequest(f"{FROM_PARAMETER} must be a number of tokens, from 0")
    switches = (
        name in given and given[name].bool_param
        for name in (WHOLE_PARAMETER, BACKGROUND_PARAMETER, CANCEL_PARAMETER)
    )
    return Resume(name, begin, *switches)


def refuse_to_resume(request: pb.ModelInferRequest) -> None:
    """Other models' replies are not resumed.

    Raises:
        Unimplemented: *request* asks for that.
    """
    if RESUME_PARAMETER in request.parameters:
        raise Unimplemented(
            f"'{RESUME_PARAMETER}' is for language models: remove it; a model that answers each "
            "request once has idempotency keys"
        )


class Resuming:
    """Opens the answers of one gateway."""

    def __init__(
        self, languages: Languages, sharing: Sharing, deliver: Callable[[LogTokens], None]
    ) -> None:
        """*deliver* takes tokens for a request that waits."""
        self._languages = languages
        self._sharing = sharing
        self._deliver = deliver

    async def open(self, asked: Asked, job: NewJob) -> Opened:
        """The answer that *asked* is for; *job* is its own so far.

        Raises:
            InvalidRequest: it asks for what cannot be; says what to change.
            AnswerNotFound, AnswerOfOther, KeyReused: the answer of its name is not to be had.
            OutOfMemory, StoreUnavailable: nobody can keep it, or knows of it.
        """
        resume = resume_of(asked.request)
        if resume is None:
            prompted = await read_prompt(self._languages, asked)
            own = job._replace(payload=prompted.payload)
            return Opened(prompted, own, TokenLog())
        model, caller = asked.served.id.model, asked.call.caller.name
        shared = self._sharing.answer_named(
            model, resume.name, caller, background=resume.background
        )
        prompted, began_s, begins = await self._request(asked, resume, shared, job.ttl_ms)
        job = job._replace(payload=prompted.payload)
        sink = ResumableJob(self._sharing, shared, job, self._deliver)
        if resume.cancel:
            await sink.give_up()
        begin, cut = (0, resume.begin) if resume.whole else (resume.begin, 0)
        resumed = Resumed(begin, began_s, sink.conclude)
        return Opened(prompted, job, sink.log, begins, sink, resumed, cut)

    async def _request(
        self, asked: Asked, resume: Resume, shared: Shared, ttl_ms: int
    ) -> tuple[Prompted, int, bool]:
        """What the first who asked for the answer asked for, when, and whether it is this one."""
        model = asked.served.id.model
        if not asked.request.inputs:
            return await self._restored(asked, await self._there(model, resume, shared))
        prompted, began_s = await read_prompt(self._languages, asked), _begins_s(asked.request)
        digest = keyed_digest(
            content_digest(asked.request, asked.raws), asked.request.model_version
        )
        kept = await self._sharing.keep_request(
            model, shared, _kept(prompted, digest, began_s), ttl_ms
        )
        if kept is None:
            return prompted, began_s, True
        if pb.ModelInferRequest.FromString(kept).parameters[_DIGEST].string_param != digest:
            raise KeyReused(
                f"the answer '{resume.name}' is that to another request: each needs a name of its "
                "own"
            )
        return await self._restored(asked, kept)

    async def input_of(self, asked: Asked) -> str:
        """What was kept as the input of the answer that *asked* names; empty where nothing was.

        Raises:
            InvalidRequest: it names none.
            AnswerNotFound: there is none of this name.
        """
        resume = resume_of(asked.request)
        if resume is None:
            raise InvalidRequest(f"{RESUME_PARAMETER} must name an answer")
        model, caller = asked.served.id.model, asked.call.caller.name
        shared = self._sharing.answer_named(model, resume.name, caller)
        kept = await self._there(model, resume, shared)
        return pb.ModelInferRequest.FromString(kept).parameters[INPUT_PARAMETER].string_param

    async def _there(self, model: str, resume: Resume, shared: Shared) -> bytes:
        """The request of an answer that was asked for before."""
        kept = await self._sharing.request_of(model, shared)
        if kept is None:
            raise AnswerNotFound(
                f"'{model}' has no answer '{resume.name}' of yours, or has it no more: send "
                "the whole request to have it made"
            )
        return kept

    async def _restored(self, asked: Asked, kept: bytes) -> tuple[Prompted, int, bool]:
        request = pb.ModelInferRequest.FromString(kept)
        if request.parameters[_CONTENT].string_param != _content(asked.served.ref):
            raise AnswerOfOther(
                "the model has changed since the answer began: send the request under another name"
            )
        tokens = np.frombuffer(request.raw_input_contents[0], "<i8").tolist()
        options = options_from_json(request.parameters[OPTIONS].string_param)
        language = await self._languages.of(asked.served)
        began_s = request.parameters[BEGAN_PARAMETER].int64_param
        calls = _CALLS in request.parameters and request.parameters[_CALLS].bool_param
        audio = next(iter(request.raw_input_contents[1:]), None)
        return Prompted(asked, language, options, tokens, calls, audio), began_s, False


def _begins_s(request: pb.ModelInferRequest) -> int:
    """When an answer begins that nobody has begun yet: as its request says, or now."""
    given_s = 0
    if BEGAN_PARAMETER in request.parameters:
        given_s = request.parameters[BEGAN_PARAMETER].int64_param
    return given_s if given_s > 0 else int(time.time())


def _kept(prompted: Prompted, digest: str, began_s: int) -> bytes:
    """The request as the store keeps it beside its answer, for other gateways."""
    request = prompted.request(options_to_json(prompted.options, whole=True))
    request.parameters[_DIGEST].string_param = digest
    request.parameters[_CONTENT].string_param = _content(prompted.asked.served.ref)
    request.parameters[BEGAN_PARAMETER].int64_param = began_s
    request.parameters[_CALLS].bool_param = prompted.calls
    given = prompted.asked.request.parameters
    if INPUT_PARAMETER in given:
        request.parameters[INPUT_PARAMETER].string_param = given[INPUT_PARAMETER].string_param
    return request.SerializeToString()


def _content(ref: StageRef) -> str:
    return f"{ref.version}{suffix(ref.revision_id)}"
