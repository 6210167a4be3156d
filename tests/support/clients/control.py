"""Which models are loaded, as a client of Triton's sees it."""

import time

import pytest
import tritonclient.grpc as triton
from support.clients.load import images
from tritonclient.utils import InferenceServerException


def index_of(client):
    """(model, version) -> (state, reason), of the repository index."""
    entries = client.get_model_repository_index().models
    return {(one.name, one.version): (one.state, one.reason) for one in entries}


def entries_of(client, model):
    """version -> (state, reason), of one model in the repository index."""
    return {version: told for (name, version), told in index_of(client).items() if name == model}


def image(place=0):
    """One of the digits, as the model's input."""
    one = triton.InferInput("image", [1, 1, 8, 8], "FP32")
    one.set_data_from_numpy(images()[place : place + 1])
    return one


def soon(check, within_s=60):
    """Wait until *check* holds; what it says at last."""
    deadline = time.monotonic() + within_s
    while not check() and time.monotonic() < deadline:
        time.sleep(0.05)
    return check()


def refused(call, *args, **kwargs):
    """The status and the text that *call* ends with."""
    with pytest.raises(InferenceServerException) as caught:
        call(*args, **kwargs)
    return caught.value.status(), caught.value.message()


def sound(load):
    """No request of *load* failed, or had a wrong answer."""
    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0
