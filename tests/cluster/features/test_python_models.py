"""Python models on a whole cluster: run where they are allowed, and refused where not."""

import os
import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
from support.clients.load import eventually
from support.models.python_models import NUMBERS, TEXT, config, write_python
from support.processes.cluster import Cluster
from support.processes.commands import invoke
from tritonclient.utils import InferenceServerException

WORDS = """
import os
from pathlib import Path

import numpy as np

from penstock.errors import InvalidRequest


class Model:
    def load(self, context):
        self.join = context.parameters["join"]
        self.stop = (context.folder / "stop.txt").read_text().split()
        self.gone = Path(context.parameters["gone"])

    def execute(self, inputs, parameters):
        texts = [text.decode() for text in inputs["text"].reshape(-1)]
        if "refuse" in texts:
            raise InvalidRequest("no such word")
        if "fail" in texts:
            raise KeyError("word")
        words = [self._words(text, parameters) for text in texts]
        return {
            "words": np.array(words, dtype=object).reshape(-1, 1),
            "seen": np.full((len(texts), 1), len(texts), np.int32),
            "process": np.full((len(texts), 1), os.getpid(), np.int64),
        }

    def _words(self, text, parameters):
        words = [word for word in text.split() if word not in self.stop]
        return self.join.join(words[: parameters.get("most", len(words))])

    def unload(self):
        self.gone.write_text("in order")
"""
TEXT_ROW = "data_type: TYPE_STRING dims: [ 1 ]"
OUTPUTS = {
    "words": TEXT_ROW,
    "seen": "data_type: TYPE_INT32 dims: [ 1 ]",
    "process": "data_type: TYPE_INT64 dims: [ 1 ]",
}


def words_settings(gone):
    parameters = {"join": "-", "gone": str(gone)}
    more = [
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
        for key, value in parameters.items()
    ]
    batching = "dynamic_batching { max_queue_delay_microseconds: 100000 }"
    return config({"text": TEXT_ROW}, OUTPUTS, max_batch=8, more="\n".join([*more, batching]))


class Answer:
    """One answer to come."""

    def __init__(self):
        self._queue = queue.Queue()

    def __call__(self, result, error):
        self._queue.put((result, error))

    def get(self):
        result, error = self._queue.get(timeout=20)
        assert error is None, error
        return result


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("python-models")
    settings = words_settings(folder.parent / "unloaded")
    write_python(folder, "words", WORDS, settings, {"stop.txt": "the a"})
    wrong = """
    class Model:
        def execute(self, inputs, parameters):
            return {"y": inputs["x"].astype("float64")}
    """
    write_python(folder, "wrong", wrong, config({"x": NUMBERS}, {"y": NUMBERS}))
    write_python(folder, "broken", "import no_such_package\n", config({"x": TEXT}, {"y": TEXT}))
    write_python(folder, "open", wrong, 'backend: "python"')
    return folder


@pytest.fixture(scope="module")
def running(repository, tmp_path_factory):
    one = Cluster(
        tmp_path_factory.mktemp("cluster"),
        repository,
        *("--repository-poll-secs", "0.2"),
        environment={"PENSTOCK_ALLOW_PYTHON_MODELS": "true"},
    )
    with one.running():
        yield one


@pytest.fixture
def client(running):
    with triton.InferenceServerClient(running.url) as client:
        yield client


def text(*rows):
    one = triton.InferInput("text", [len(rows), 1], "BYTES")
    one.set_data_from_numpy(np.array([[row.encode()] for row in rows], dtype=object))
    return [one]


def reasons(client):
    index = client.get_model_repository_index().models
    return {one.name: (one.state, one.reason) for one in index}


def refusal(client, model, inputs):
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs, client_timeout=20)
    return caught.value.status(), caught.value.message()


def test_it_answers_with_what_its_configuration_and_its_files_say(client):
    result = client.infer("words", text("the red fox", "a cat"), client_timeout=20)

    assert result.as_numpy("words").tolist() == [[b"red-fox"], [b"cat"]]


def test_its_configuration_is_the_one_that_was_written(client):
    settings = client.get_model_config("words", as_json=True)["config"]

    assert (settings["backend"], settings["default_model_filename"]) == ("python", "model.py")


def test_requests_share_batches_but_not_with_other_parameters(client):
    answers = [Answer() for _ in range(8)]
    for number, answer in enumerate(answers):
        most = {"most": 1 + number % 2}
        client.async_infer("words", text(f"w{number} x y"), answer, parameters=most)

    results = [answer.get() for answer in answers]

    found = [result.as_numpy("words")[0, 0].decode() for result in results]
    assert found == [f"w{n}" if n % 2 == 0 else f"w{n}-x" for n in range(8)]
    # Eight of one kind would have been one batch; four and four are two at most.
    assert max(result.as_numpy("seen")[0, 0] for result in results) in (2, 3, 4)


def test_an_exception_fails_its_request_and_the_worker_lives(client):
    before = client.infer("words", text("x"), client_timeout=20).as_numpy("process")

    status, message = refusal(client, "words", text("fail"))
    refused = refusal(client, "words", text("refuse"))

    after = client.infer("words", text("x"), client_timeout=20).as_numpy("process")
    assert status == "StatusCode.INTERNAL"
    assert message.startswith("model.py: Model.execute raised KeyError: 'word' (model.py, line ")
    assert refused == ("StatusCode.INVALID_ARGUMENT", "no such word")
    assert before == after


def test_a_request_that_fails_does_no_harm_to_its_batch(client):
    answers = [Answer() for _ in range(3)]
    for sink, row in zip(answers, ("one", "two", "three"), strict=True):
        client.async_infer("words", text(row), sink)

    failed = refusal(client, "words", text("fail"))

    assert failed[0] == "StatusCode.INTERNAL"
    assert [a.get().as_numpy("words")[0, 0] for a in answers] == [b"one", b"two", b"three"]


def test_a_result_of_the_wrong_type_is_told(client):
    x = triton.InferInput("x", [2], "FP32")
    x.set_data_from_numpy(np.ones(2, np.float32))

    assert refusal(client, "wrong", [x]) == (
        "StatusCode.INTERNAL",
        (
            "model.py: Model.execute: output 'y' is float64, and config.pbtxt says TYPE_FP32: "
            "return it .astype(np.float32)"
        ),
    )


async def test_why_a_model_cannot_be_loaded_is_told(client):
    def broken():
        state, reason = reasons(client)["broken"]
        return reason if state == "UNAVAILABLE" else None

    # It is tried again now and then, and is LOADING meanwhile.
    reason = await eventually(broken)

    assert "No module named 'no_such_package' (model.py, line 1)" in reason
    told = reasons(client)
    assert "list each input" in told["open"][1]
    assert told["words"][0] == "READY"


def test_without_leave_no_code_is_run_and_the_reason_says_what_to_do(cluster, tmp_path):
    mark = tmp_path / "was-run"
    repository = tmp_path / "models"
    code = f"open({str(mark)!r}, 'w')\n" + WORDS
    write_python(repository, "words", code, words_settings(mark), {"stop.txt": ""})
    running = cluster(repository)

    with triton.InferenceServerClient(running.url) as client:
        state, reason = reasons(client)["words"]
        status, _ = refusal(client, "words", text("x"))
    shown = invoke("status", "--url", running.url, "--json").stdout

    assert (state, status) == ("UNAVAILABLE", "StatusCode.NOT_FOUND")
    assert "start a node with --allow-python-models" in reason
    assert "start a node with --allow-python-models" in shown
    assert not mark.exists()


async def test_a_changed_file_beside_it_takes_over_and_the_old_one_is_unloaded(
    client, repository, tmp_path
):
    gone = tmp_path / "gone"
    entry = write_python(tmp_path, "changing", WORDS, words_settings(gone), {"stop.txt": "one"})
    entry = entry.rename(repository / "changing")

    def answer():
        result = client.infer("changing", text("one two"), client_timeout=20)
        return result.as_numpy("words")[0, 0]

    await eventually(lambda: reasons(client).get("changing", [""])[0] == "READY")
    before = answer()
    (entry / "1" / "stop.txt").write_text("two")
    os.utime(entry / "1" / "stop.txt")
    await eventually(lambda: answer() == b"one")

    assert before == b"two"
    await eventually(gone.exists)
    assert gone.read_text() == "in order"
