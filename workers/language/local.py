"""A language model without a cluster: its stages and its engine in this process."""

import secrets
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from penstock.errors import InvalidRequest
from penstock.language.answer_text import AnswerText
from penstock.language.finish import Finish
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.tokenizer import Tokenizer
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.language.speech.encoder import check_audio
from penstock.workers.language.stage import Floats
from penstock.workers.language.structured import WHY_STUCK


class Piece(NamedTuple):
    """What a step added to an answer.

    Attributes:
        number: of the prompt.
        text: may be empty.
        finish: how it ended, with its last piece.
    """

    number: int
    token: int
    text: str
    finish: Finish | None


class LocalModel:
    """The version in a directory, loaded. Belongs to one thread."""

    def __init__(self, pipeline: Pipeline, tokenizer: Tokenizer) -> None:
        self.manifest = pipeline.manifest
        self.tokenizer = tokenizer
        self._pipeline = pipeline

    @classmethod
    def open(cls, directory: Path, slots: int, capacity: int, threads: int) -> "LocalModel":
        """Load it; arguments and errors as for `Pipeline.open`, and `read_manifest`."""
        manifest = read_manifest(directory)
        pipeline = Pipeline.open(directory, manifest, slots, capacity, threads)
        return cls(pipeline, Tokenizer.read(directory))

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        options: DecodingOptions,
        audios: Sequence[Floats] | None = None,
    ) -> Iterator[Piece]:
        """Answer *prompts*, as many at a time as there are slots.

        Args:
            audios: what each is about, of a model of speech: float32[count] at 16 kHz.

        Raises:
            InvalidRequest: one is empty or too long, or its audio is missing or too long; before
                anything is computed. Or an answer cannot go on with the structure that it is to
                have.
        """
        ends = self.manifest.end_tokens
        engine = Engine(self._pipeline, ends)
        answers = self._begun(prompts, options, audios)
        numbers = {id(answer): number for number, answer in enumerate(answers)}
        texts = [
            AnswerText(self.tokenizer.decode, options, ends, answer.prompt, self.tokenizer.plain)
            for answer in answers
        ]
        for answer in answers:
            engine.admit(answer)
        while not engine.is_idle:
            for new in engine.step():
                if new.is_stuck:
                    raise InvalidRequest(WHY_STUCK)
                number = numbers[id(new.answer)]
                text = texts[number]
                added = text.push(new.token)
                stopped = text.stopped_by is not None
                if stopped and new.finish is None:
                    engine.evict(new.answer)
                finish = Finish.STOP if stopped else new.finish
                if finish is not None:
                    added += text.flush()
                yield Piece(number, new.token, added, finish)

    def _begun(
        self,
        prompts: Sequence[Sequence[int]],
        options: DecodingOptions,
        audios: Sequence[Floats] | None,
    ) -> list[Answer]:
        """An answer to each prompt, of which nothing has come; arguments as for `generate`."""
        options = options.seeded(lambda: secrets.randbits(64))
        if options.structured_outputs is not None:
            self._pipeline.structured.check(options.structured_outputs)
        heard = repeat(None, len(prompts)) if audios is None else audios
        answers = [
            Answer(list(prompt), options, audio=audio)
            for prompt, audio in zip(prompts, heard, strict=True)
        ]
        for answer in answers:
            check_audio(self.manifest, answer)
        return answers
