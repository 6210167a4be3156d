"""Languages: what a gateway needs of a model to make text of its tokens, fetched once each."""

import asyncio
from collections import OrderedDict
from functools import partial
from typing import Any, Final, NamedTuple

from penstock.errors import ArtifactUnusable, InvalidRequest, ModelNotReady, Unimplemented
from penstock.gateway.models.catalog import Served
from penstock.language.chat import ChatTemplate
from penstock.language.grammar.checks import Checks
from penstock.language.grammar.structure import Structure
from penstock.language.grammar.telling import Messages, in_plain_words
from penstock.language.log.spelling import Spelling
from penstock.language.manifest import CHAT_TEMPLATE, MANIFEST, TOKENIZER, Manifest
from penstock.language.tokenizer import Tokenizer
from penstock.models.config.language_models import Text, texts_of
from penstock.protos import cluster_pb2
from penstock.scheduler.registry.load_requests import LoadRequests

_MOST_KEPT: Final = 8
_LONG_TEXT: Final = 4096
"""Characters that are tokenized in passing; more of them beside the event loop."""


class Language(NamedTuple):
    """What a gateway needs of a model to make text of its tokens.

    Attributes:
        template: makes one text of messages; None where the model has none.
        rendering: is held by whoever uses it.
        checks: tries the structures that answers shall have.
        checking: is held by whoever uses these.
        spelling: how its tokens are written, each by itself.
    """

    tokenizer: Tokenizer
    manifest: Manifest
    template: ChatTemplate | None
    rendering: asyncio.Lock
    checks: Checks
    checking: asyncio.Lock
    spelling: Spelling

    async def chat(self, messages: Messages, tools: Messages = ()) -> list[int]:
        """The tokens that ask the model to go on after *messages*.

        Args:
            tools: what the model is told that it may call, as the OpenAI API has it.

        Raises:
            InvalidRequest: it has no chat template, or that refuses them.
        """
        if self.template is None:
            raise InvalidRequest("the model has no chat template: ask it for a completion")
        variables: dict[str, Any] = dict(self.manifest.template_variables)
        if not self.template.knows_tools:
            messages = in_plain_words(messages, tools)
        elif tools:
            variables["tools"] = list(tools)
        async with self.rendering:
            render = partial(self.template.render, messages, **variables)
            text = await asyncio.to_thread(render)
        return await asyncio.to_thread(self.tokenizer.encode, text, special=False)

    async def tokens_of(self, text: str, *, special: bool) -> list[int]:
        """As `Tokenizer.encode`."""
        if len(text) <= _LONG_TEXT:
            return self.tokenizer.encode(text, special=special)
        return await asyncio.to_thread(self.tokenizer.encode, text, special=special)

    async def check(self, structure: Structure | None) -> None:
        """Whether an answer can have this structure.

        Raises:
            StructureRefused: it cannot; says why.
            Unimplemented: this gateway cannot know.
        """
        if structure is None or self.checks.is_known(structure):
            return
        async with self.checking:
            await asyncio.to_thread(self.checks.check, structure)

    def close(self) -> None:
        """End the processes that it has."""
        self.checks.close()
        if self.template is not None:
            self.template.close()


class Languages:
    """The languages of the models that were asked lately, fetched once each."""

    def __init__(self, load_requests: LoadRequests) -> None:
        self._load_requests = load_requests
        self._kept: OrderedDict[tuple[Text | None, ...], asyncio.Task[Language]] = OrderedDict()

    async def of(self, served: Served) -> Language:
        """That of *served*.

        Raises:
            ModelNotReady: its workers have not brought it, or the registry has lost it.
        """
        texts = texts_of(served.deployment.config)
        key = texts.get(TOKENIZER), texts.get(MANIFEST), texts.get(CHAT_TEMPLATE)
        fetching = self._kept.get(key)
        if fetching is None or (fetching.done() and _failed(fetching)):
            fetching = self._kept[key] = asyncio.create_task(self._fetch(*key))
            while len(self._kept) > _MOST_KEPT:
                _, oldest = self._kept.popitem(last=False)
                oldest.add_done_callback(_close)
        self._kept.move_to_end(key)
        try:
            # Others may wait for it as well: a client that leaves does not stop it.
            return await asyncio.shield(fetching)
        except ArtifactUnusable as error:
            raise ModelNotReady(
                f"the tokenizer of '{served.id.model}' is not there yet: ask again in a moment"
            ) from error
        except ModuleNotFoundError as error:
            raise Unimplemented(
                f"this gateway lacks '{error.name}', which language models need: "
                "pip install 'penstock[language]'"
            ) from error

    async def _fetch(self, *texts: Text | None) -> Language:
        tokenizer, manifest, template = [
            None if text is None else await self._load_requests.fetch(_file(text)) for text in texts
        ]
        made = await asyncio.to_thread(Tokenizer.from_json, tokenizer or b"")
        said = Manifest.from_json((manifest or b"").decode())
        return Language(
            made,
            said,
            None if template is None else ChatTemplate(template.decode(errors="replace")),
            asyncio.Lock(),
            Checks(made.to_json, said.vocabulary, said.end_tokens),
            asyncio.Lock(),
            Spelling(made),
        )


def _file(text: Text) -> cluster_pb2.File:
    return cluster_pb2.File(path="the model's texts", digest=text.digest, size=text.size)


def _close(task: "asyncio.Task[Language]") -> None:
    if not _failed(task):
        task.result().close()


def _failed(task: "asyncio.Task[Language]") -> bool:
    return task.cancelled() or task.exception() is not None
