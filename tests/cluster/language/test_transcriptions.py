"""Models of speech on a cluster: over gRPC and the OpenAI API, whatever dies meanwhile."""

import http.client
import json
import os
import signal

import grpc
import numpy as np
import pytest
from support.clients.answers import Answers, ask
from support.clients.load import eventually
from support.processes.cluster import Cluster
from support.speech.speech_versions import LocalSpeech, as_wav, hear, sound, write_model

from penstock.language.speech.segments import as_srt, as_vtt, segments_of
from penstock.language.speech.windows import windows
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

TOKENS = 200
LONG = {"max_tokens": TOKENS, "ignore_end": True}


@pytest.fixture(scope="module")
def speech_cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    options = ("--lease-ms", "2000", "--http", "--http-port", "0")
    with Cluster(folder / "cluster", write_model(folder), *options).running() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def local(speech_cluster):
    return LocalSpeech(speech_cluster.models / "whisper/1")


@pytest.fixture
def answers(speech_cluster):
    with Answers(speech_cluster.url) as answers:
        yield answers


def _workers(cluster):
    return set(cluster.processes()["worker"])


def form(fields, file=None, filename="speech.wav"):
    """A body as clients send forms, and its type."""
    boundary = "3a9f7c"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, values in fields.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    if file is not None:
        head = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
        kind = "Content-Type: audio/wav"
        parts.append(f"--{boundary}\r\n{head}\r\n{kind}\r\n\r\n".encode() + file + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def transcribe(cluster, file, **fields):
    """Status and body of the answer."""
    body, kind = form({"model": "whisper", **fields}, file)
    host, _, port = cluster.http_url().partition(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("POST", "/v1/audio/transcriptions", body, {"Content-Type": kind})
    response = connection.getresponse()
    content = response.read().decode()
    connection.close()
    return response.status, content


# over gRPC


def test_answers_over_grpc_are_those_of_one_process(answers, local):
    sounds = [sound(0.5 + 0.03 * n, n) for n in range(10)]
    found = answers.ended([answers.send(hear("whisper", one, **LONG)) for one in sounds])

    for one, answer in zip(sounds, found, strict=True):
        assert answer.error == ""
        assert (answer.tokens, answer.text) == local.answer(one, **LONG)
    assert len({tuple(answer.tokens) for answer in found}) == 10
    assert found[0].about["completion_tokens"] == TOKENS


def test_its_tensors_are_known_to_clients(speech_cluster):
    host, _, port = speech_cluster.http_url().partition(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("GET", "/v2/models/whisper")
    known = {one["name"]: one for one in json.loads(connection.getresponse().read())["inputs"]}
    connection.close()

    assert known["audio"] == {"name": "audio", "datatype": "FP32", "shape": [-1]}
    assert "messages" not in known


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["SIGKILL", "SIGSTOP"])
async def test_a_worker_that_dies_changes_no_byte_of_any_answer(
    number, answers, speech_cluster, local
):
    """Whoever goes on hears the audio again, which is in the job."""
    workers = _workers(speech_cluster)
    sounds = [sound(0.5 + 0.03 * n, n) for n in range(12)]
    asked = [hear("whisper", one, timestamps=n % 2 == 1, **LONG) for n, one in enumerate(sounds)]
    found = [answers.send(one) for one in asked]
    answers.until(lambda: sum(len(answer.tokens) > 20 for answer in found) >= 4)
    victim = workers.pop()
    os.kill(victim, number)
    under_way = sum(not answer.ended for answer in found)

    answers.ended(found)

    for n, (one, answer) in enumerate(zip(sounds, found, strict=True)):
        expected = local.answer(one, timestamps=n % 2 == 1, **LONG)
        assert (answer.error, answer.tokens, answer.text) == ("", *expected)
    assert under_way > 0
    if number == signal.SIGSTOP:
        os.kill(victim, signal.SIGKILL)
    # Both are there again for the next test.
    assert await eventually(
        lambda: len(_workers(speech_cluster)) == 2 and _answers(speech_cluster, local)
    )


def _answers(cluster, local):
    status, content = transcribe(cluster, as_wav(sound()))
    return status == 200 and json.loads(content)["text"] == local.answer(sound())[1].strip()


def test_a_named_answer_is_the_same_at_each_asking(answers, local):
    """By its name alone, too: the audio is kept with it."""
    one = sound(seed=5)
    first = answers.send(hear("whisper", one, penstock_resume="spoken", **LONG))
    answers.ended([first])
    again = hear("whisper", one, penstock_resume="spoken", penstock_from=7)
    del again.inputs[:]
    del again.raw_input_contents[:]
    (rest,) = answers.ended([answers.send(again)])

    assert (first.tokens, first.text) == local.answer(one, **LONG)
    assert rest.tokens == first.tokens[7:]


@pytest.mark.parametrize(
    ("samples", "parameters", "said"),
    [
        (16001, {}, "audio has 16001 samples: it must have 1 to 16000"),
        (0, {}, "audio has 0 samples"),
        (9, {"language": "xx"}, "the model knows de, en, fr"),
        (9, {"task": "translate"}, "needs the option language"),
        (9, {"structured_outputs": '{"regex": "a"}'}, "is not for models of speech"),
        (9, {"temprature": 1.0}, "unknown option 'temprature'"),
    ],
)
def test_what_a_model_of_speech_cannot_do_is_refused(samples, parameters, said, speech_cluster):
    with grpc.insecure_channel(speech_cluster.url) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        request = hear("whisper", np.zeros(samples, np.float32), **parameters)
        with pytest.raises(grpc.RpcError, match=said) as refused:
            stub.ModelInfer(request)

    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_samples_that_are_no_numbers_are_refused(answers):
    (found,) = answers.ended([answers.send(hear("whisper", [0.1, float("nan")]))])

    assert "no numbers" in found.error


def test_text_alone_is_no_request_to_a_model_of_speech(speech_cluster):
    status, content = ask(speech_cluster, "completions", {"model": "whisper", "prompt": "hello"})

    assert status == 400
    assert "audio" in json.loads(content)["error"]["message"]


# over the OpenAI API


def test_a_file_becomes_text(speech_cluster, local):
    one = sound()
    tokens, text = local.answer(one)
    status, content = transcribe(speech_cluster, as_wav(one))
    plain = transcribe(speech_cluster, as_wav(one), response_format="text")

    assert status == 200
    assert json.loads(content) == {
        "text": text.strip(),
        "usage": {"type": "duration", "seconds": 0.9},
    }
    assert plain == (200, f"{text.strip()}\n")
    assert len(tokens) > 3


def test_language_and_prompt_are_told_to_the_model(speech_cluster, local):
    one = sound(seed=2)
    _, content = transcribe(speech_cluster, as_wav(one), language="de", prompt=" hello world ")

    expected = local.answer(one, "de", "hello world")[1]
    assert json.loads(content)["text"] == expected.strip()
    assert expected != local.answer(one)[1]


@pytest.mark.parametrize("channels", [1, 2])
def test_other_rates_and_channels_are_the_same_sound(channels, speech_cluster):
    """Slow waves, which all rates have: every 3rd sample of 48 kHz."""
    high = np.sin(np.arange(43200) / 300).astype(np.float32) * 0.5
    _, expected = transcribe(speech_cluster, as_wav(high[::3]), response_format="verbose_json")
    _, found = transcribe(
        speech_cluster, as_wav(high, 48000, channels), response_format="verbose_json"
    )

    assert json.loads(found)["duration"] == json.loads(expected)["duration"] == 0.9


def test_times_are_those_of_the_models_tokens(speech_cluster, local):
    one = sound(seed=3)
    tokens, _ = local.answer(one, timestamps=True, logprobs=0)
    expected = list(segments_of(local.speech, local.tokenizer.decode, tokens, 0.0, 0.9))
    file = as_wav(one)
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": "segment"}

    _, content = transcribe(speech_cluster, file, **fields)
    found = json.loads(content)

    assert found["segments"]
    assert [(s["start"], s["end"], s["text"], s["tokens"]) for s in found["segments"]] == [
        (s.begin_s, s.end_s, s.text, list(s.tokens)) for s in expected
    ]
    assert found["language"] == local.speech.language_of(tokens[0])
    assert (found["task"], found["duration"]) == ("transcribe", 0.9)
    assert all(segment["avg_logprob"] < 0 for segment in found["segments"])
    srt, vtt = (
        transcribe(speech_cluster, file, response_format=name)[1] for name in ("srt", "vtt")
    )
    assert (srt, vtt) == (as_srt(expected), as_vtt(expected))


def test_long_audio_is_heard_in_windows_of_one_language(speech_cluster, local):
    """It is cut where it is quiet; the language of the first window is that of all."""
    long = np.concatenate([sound(0.8, 4), np.zeros(2500, np.float32), sound(1.9, 6)])
    places = windows(long, local.speech.samples)
    first = local.answer(long[slice(*places[0])])
    language = local.speech.language_of(first[0][0])
    others = [local.answer(long[slice(*place)], language) for place in places[1:]]

    _, content = transcribe(speech_cluster, as_wav(long))

    assert len(places) >= 4
    assert long[places[0][1]] == 0
    texts = [text.strip() for _, text in (first, *others)]
    assert json.loads(content)["text"] == " ".join(text for text in texts if text)


def test_a_stream_says_the_same_piece_by_piece(speech_cluster):
    """Of several windows, in their order."""
    file = as_wav(np.concatenate([sound(0.8, 4), np.zeros(2500, np.float32), sound(1.9, 6)]))
    _, whole = transcribe(speech_cluster, file)
    status, content = transcribe(speech_cluster, file, stream="true")
    events = [json.loads(line.removeprefix("data: ")) for line in content.split("\n\n") if line]

    *deltas, done = events
    assert status == 200
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert done == {"type": "transcript.text.done", **json.loads(whole)}
    assert "".join(event["delta"] for event in deltas) == done["text"]
    assert len(deltas) > 8


@pytest.mark.parametrize(
    ("file", "fields", "status", "param", "message"),
    [
        (b"", {}, 400, "file", "does not begin as WAV does"),
        (b"OggS" + bytes(60), {}, 400, "file", "the file is Ogg"),
        (b"fLaC" + bytes(60), {}, 400, "file", "the file is FLAC"),
        (as_wav(sound())[:40], {}, 400, "file", "no WAV that can be read"),
        (as_wav(sound()[:0]), {}, 400, "file", "no audio"),
        (None, {}, 400, "file", "file must be a file"),
        (as_wav(sound()), {"model": "none"}, 404, None, "'none'"),
        (as_wav(sound()), {"language": "xx"}, 400, "language", "the model knows de, en, fr"),
        (as_wav(sound()), {"prompt": "a <|en|>"}, 400, None, "must be plain text"),
        (as_wav(sound()), {"response_format": "xml"}, 400, "response_format", "json, text"),
        (as_wav(sound()), {"temperature": "2"}, 400, "temperature", "from 0 to 1"),
        (as_wav(sound()), {"stream": "1"}, 400, "stream", "must be true or false"),
        (
            as_wav(sound()),
            {"stream": "true", "response_format": "srt"},
            400,
            "stream",
            "a stream has no srt",
        ),
        (as_wav(sound()), {"stream": "true", "prompt": "<|en|>"}, 400, None, "plain text"),
        (as_wav(sound()), {"chunking_strategy": "{}"}, 400, "chunking_strategy", "'auto' alone"),
        (
            as_wav(sound()),
            {"timestamp_granularities[]": ["segment", "word"]},
            400,
            "timestamp_granularities",
            "times of words",
        ),
        (as_wav(sound()), {"modell": "x"}, 400, "modell", "unknown field 'modell'"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    file, fields, status, param, message, speech_cluster
):
    found, content = transcribe(speech_cluster, file, **fields)
    error = json.loads(content)["error"]

    assert (found, error["param"]) == (status, param)
    assert message in error["message"]


def test_a_body_that_is_no_form_is_refused(speech_cluster):
    status, content = ask(speech_cluster, "audio/transcriptions", {"model": "whisper"})

    assert status == 415
    assert "multipart/form-data" in json.loads(content)["error"]["message"]


def test_the_official_client_reads_all_of_it(speech_cluster, local):
    openai = pytest.importorskip("openai", reason="pip install openai")
    one = sound(seed=8)
    text = local.answer(one)[1].strip()
    client = openai.OpenAI(base_url=f"http://{speech_cluster.http_url()}/v1", api_key="none")

    def ask_client(**fields):
        file = ("speech.wav", as_wav(one))
        return client.audio.transcriptions.create(model="whisper", file=file, **fields)

    plain, verbose = ask_client(), ask_client(response_format="verbose_json", temperature=0.0)
    spoken = ask_client(language="fr", prompt="hello", response_format="text")

    assert plain.text == text
    assert plain.usage.seconds == 0.9
    assert verbose.segments
    assert verbose.segments[0].end <= verbose.duration == 0.9
    assert spoken.strip() == local.answer(one, "fr", "hello")[1].strip()
    events = list(ask_client(stream=True))
    assert events[-1].text == text == "".join(event.delta for event in events[:-1])
    assert ask_client(response_format="srt").startswith("1\n00:00:0")
    with pytest.raises(openai.BadRequestError, match="the model knows de, en, fr") as refused:
        ask_client(language="xx")
    assert refused.value.param == "language"


@pytest.mark.parametrize("stream", ["false", "true"])
def test_who_sends_more_than_there_is_time_for_hears_what_to_do(stream, speech_cluster, tmp_path):
    options = ("--default-timeout-s", "0.05", "--http", "--http-port", "0")
    file = as_wav(np.zeros(600 * 8000, np.float32), 8000)
    with Cluster(tmp_path, speech_cluster.models, *options).running() as hurried:
        status, content = transcribe(hurried, file, stream=stream)

    assert status == 504
    assert "600 s of audio need more time than there was; send pieces" in content
