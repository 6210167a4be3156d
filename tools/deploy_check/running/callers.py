"""Clients that ask without pause: Triton's stock client and Penstock's, each on a connection."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from deploy_check.check import ROOT, Wrong

_OF_EACH = 16
_DEADLINE_S = 30.0
# gRPC would have clients of one process and address share a connection.
_ALONE = ("grpc.use_local_subchannel_pool", 1)

Ask = Callable[[], Any]
"""Asks once; the answer's bytes."""


class Callers:
    """Sixteen of each, from the beginning of the block to `end`.

    Attributes:
        answered: requests with the right answer.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._image = np.load(ROOT / "examples/digits/heldout.npz")["images"][:1]
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._answers: Counter[bytes] = Counter()
        self._errors: Counter[str] = Counter()
        kinds = [self._of_triton] * _OF_EACH + [self._of_penstock] * _OF_EACH
        self._threads = [threading.Thread(target=kind, daemon=True) for kind in kinds]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def answered(self) -> int:
        """Requests that have had an answer."""
        return self._answers.total()

    def wait_for_more(self, count: int, within_s: float = 120) -> None:
        """Wait until so many more requests have been answered; `Wrong` where they are not."""
        wanted, end = self.answered + count, time.monotonic() + within_s
        while self.answered < wanted:
            if time.monotonic() > end:
                raise Wrong("requests are not answered any more", *self._errors)
            time.sleep(0.05)

    def end(self) -> list[str]:
        """Let each have its last answer; what went wrong."""
        self._over.set()
        for thread in self._threads:
            thread.join(2 * _DEADLINE_S)
        faults = [f"{count} requests failed: {text}" for text, count in self._errors.items()]
        if len(self._answers) > 1:
            faults.append(f"answers to one request differ: {list(self._answers.values())}")
        return faults

    def _of_triton(self) -> None:
        import tritonclient.grpc as triton

        client: Any = triton.InferenceServerClient(self._address, channel_args=[_ALONE])
        given = triton.InferInput("image", self._image.shape, "FP32")
        given.set_data_from_numpy(self._image)

        def ask() -> Any:
            reply = client.infer("digits", [given], client_timeout=_DEADLINE_S)
            return reply.as_numpy("probabilities").round(3).tobytes()

        self._loop("Triton's client", ask)
        client.close()

    def _of_penstock(self) -> None:
        from penstock.client import Client

        with Client(self._address) as client:

            def ask() -> Any:
                reply = client.infer("digits", {"image": self._image}, deadline_s=_DEADLINE_S)
                return reply["probabilities"].round(3).tobytes()

            self._loop("Penstock's client", ask)

    def _loop(self, who: str, ask: Ask) -> None:
        while not self._over.is_set():
            try:
                answer = ask()
            except Exception as error:  # noqa: BLE001 - each is one too many
                with self._lock:
                    self._errors[f"{who}: {error}"] += 1
                time.sleep(0.1)
                continue
            with self._lock:
                self._answers[answer] += 1
