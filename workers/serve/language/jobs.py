"""Jobs of a language model: from a claimed job to an answer, and from its log to the reply."""

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from penstock.errors import InvalidRequest, StoreUnavailable
from penstock.language.log.entries import WORD_BYTES, entries_in, prompt_entries
from penstock.language.payload import CACHED_TOKENS, CALLER, ENDED, OPTIONS, options_from_json
from penstock.models.config.language_models import AUDIO_INPUT, TOKENS_INPUT, TOKENS_OUTPUT
from penstock.scheduler.jobs.logs import Logs, NewTokens
from penstock.scheduler.jobs.types import Lease, Timing
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import NewToken
from penstock.workers.run import encoding
from penstock.workers.run.tensor import Answer as WithParameters
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.work import Work
from penstock.workers.serve.spec import WorkerSpec

_AGAIN_S = 0.1


@dataclass(eq=False, slots=True)
class Active:
    """An answer that a worker has.

    Attributes:
        log: what is in the store of its log, in words.
        counted: those of its tokens that it had not to read here have been counted.
        proved: it has brought a token here, so that it ends no worker.
        began_ns: when this worker took it.
    """

    work: Work
    answer: Answer
    log: bytearray
    proved: bool
    counted: bool = False
    began_ns: int = field(default_factory=time.perf_counter_ns)

    @property
    def id(self) -> str:
        """The job's."""
        return self.work.lease.id

    @property
    def words(self) -> int:
        """How many words of its log are in the store."""
        return len(self.log) // WORD_BYTES

    @property
    def uncounted(self) -> int:
        """Tokens of its prompt and log that it had not to read here, and that nobody knows of."""
        return 0 if self.counted else self.answer.reused

    @property
    def token(self) -> str:
        """The lease's."""
        return self.work.lease.token

    def timing(self) -> Timing:
        """How long this worker has had it."""
        return Timing(infer_ns=time.perf_counter_ns() - self.began_ns)

    def is_over(self) -> bool:
        """Whether its deadline has passed."""
        return self.work.ends_s <= time.monotonic()


def answer_of(work: Work, log: bytes) -> Active:
    """The answer that *work* asks for, as far as its *log* goes.

    Raises:
        InvalidRequest: the job is none that a gateway makes.
    """
    if work.ensemble_step is not None:
        raise InvalidRequest("a language model cannot be a step of an ensemble yet: ask it itself")
    tensor, head = work.tensors[TOKENS_INPUT], work.head
    if tensor.datatype != "INT64" or OPTIONS not in head.parameters:
        raise InvalidRequest("the job is none of a language model")
    options = options_from_json(head.parameters[OPTIONS].string_param)
    prompt = np.frombuffer(tensor.raw, "<i8").tolist()
    tokens = entries_in(log, options)[prompt_entries(options, len(prompt)) :, 0].tolist()
    caller = head.parameters[CALLER].string_param if CALLER in head.parameters else None
    answer = Answer(prompt, options, tokens, caller=caller, audio=_audio_of(work))
    return Active(work, answer, bytearray(log), proved=not work.alone)


def _audio_of(work: Work) -> npt.NDArray[np.float32] | None:
    """What the job is about, if its model hears."""
    tensor = work.tensors.get(AUDIO_INPUT)
    if tensor is None:
        return None
    if tensor.datatype != "FP32" or len(tensor.raw) % 4:
        raise InvalidRequest("the job's audio is none that a gateway sends")
    # Copied: the payload is let go of.
    return np.frombuffer(tensor.raw, "<f4").astype(np.float32)


def new_tokens(active: Active, new: NewToken) -> NewTokens:
    """What the log of *active* gets in a step; the prompt's entries come with the first token."""
    words = [*new.before, *new.entry]
    # As a rule it is one, and an array of it takes longer.
    packed = b"".join(word.to_bytes(4, "little") for word in words)
    # Counted as one token, with whatever is before it.
    return NewTokens(active.id, active.token, active.words, packed, len(words), active.uncounted)


def reply_of(active: Active, spec: WorkerSpec) -> bytes:
    """The end of the reply: the whole log."""
    whole = {TOKENS_OUTPUT: Tensor("UINT32", (active.words,), bytes(active.log))}
    cached = min(active.answer.reused, len(active.answer.prompt))
    said = WithParameters(whole, {CACHED_TOKENS: cached, ENDED: int(time.time())})
    return encoding.reply(active.work, said, (TOKENS_OUTPUT,), spec.ref.version, spec.hop_name)


async def read_log(logs: Logs, model: str, lease: Lease) -> bytes:
    """The log of a claimed job, as soon as the store says it."""
    while True:
        try:
            return await logs.read(model, lease.id)
        except StoreUnavailable:
            await asyncio.sleep(_AGAIN_S)
