"""What comes over HTTP, and what gRPC over ASGI reads by itself."""

import json
from functools import partial

from fuzz import mutations
from fuzz.engine import Target
from support.speech.speech_versions import as_wav, sound

from penstock.gateway.fronts.compression import Inflation, compressed
from penstock.gateway.fronts.grpc.asgi import wire
from penstock.gateway.fronts.http import generate_json, infer_json
from penstock.gateway.fronts.http.exchange import accepted
from penstock.gateway.fronts.http.json_messages import parsed_object
from penstock.gateway.fronts.http.openai.audio.asked import transcript_of
from penstock.gateway.fronts.http.openai.audio.forms import parts_of
from penstock.language.speech.wav import samples_of
from penstock.protos import grpc_service_pb2 as pb

MOST = 1 << 20
WORDS = (b"inputs", b"data", b"shape", b"parameters", b"binary_data_size", b"null", b"1e999")


def bodies():
    one = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [[1, 2.5, -3e4]]}
    text = {"name": "t", "datatype": "BYTES", "shape": [2], "data": ["a", "\u00e4"]}
    region = {"shared_memory_region": "r", "shared_memory_byte_size": 4}
    output = {"name": "y", "parameters": {"classification": 3, "binary_data": True}}
    parameters = {"sequence_id": 7, "mine": True, "binary_data_output": False}
    return [
        json.dumps({"inputs": [one, text], "id": "i"}).encode(),
        json.dumps({"inputs": [{"name": "s", "parameters": region} | {"datatype": "BOOL",
                    "shape": [4]}], "outputs": [output], "parameters": parameters}).encode(),
    ]  # fmt: skip


def body(data):
    infer_json.request_of("m", "1", data, len(data))


def binary(data):
    """JSON up to its last brace, and what comes behind as binary data."""
    infer_json.request_of("m", "1", data, data.rfind(b"}") + 1)


def binaries():
    given = {"name": "x", "datatype": "INT8", "shape": [3], "parameters": {"binary_data_size": 3}}
    return [json.dumps({"inputs": [given, given]}).encode() + b"\1\2\3\4\5\6"]


METADATA = pb.ModelMetadataResponse(name="m")
METADATA.inputs.add(name="text", datatype="BYTES", shape=[-1, 1])
METADATA.inputs.add(name="size", datatype="INT32", shape=[-1, 2])


def generate(data):
    generate_json.request_of(METADATA, "", parsed_object(data))


def headers(data):
    """Names and values, a line each."""
    pairs = [line.partition(b": ")[::2] for line in data.split(b"\n")]
    found = wire.asked(pairs)
    accepted(found.accepted)


HEADERS = [
    b"grpc-timeout: 100m\nx-bin: AAH/,AA\ngrpc-encoding: gzip\ngrpc-accept-encoding: gzip;q=0.5",
    b":path: /x\nuser-agent: u\nte: trailers\ngrpc-timeout: 99999999H",
]


def inflate(data):
    Inflation(data[1:], (b"gzip", b"deflate")[data[:1] == b"d"], MOST).whole()


FORM = (
    b"multipart/form-data; boundary=b0\0--b0\r\nContent-Disposition: form-data; "
    b'name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b0--\r\n'
)


def form(data):
    """A type, and behind a zero the form."""
    kind, _, content = data.partition(b"\0")
    transcript_of(parts_of(content, kind.decode("latin-1")))


def wavs():
    """Of a rate that must be changed by thousands of sets of weights, and of several channels."""
    return [as_wav(sound(0.01), 44101), as_wav(sound(0.01), 16000, channels=3)]


TARGETS = [
    Target("form", "POST /v1/audio/transcriptions, the form", [FORM], form,
           mutate=partial(mutations.text, words=(b"--b0", b"\r\n", b'name="', b"filename*="))),
    Target("wav", "POST /v1/audio/transcriptions, the file", wavs(), samples_of),
    Target("body", "POST .../infer, JSON", bodies(), body,
           mutate=partial(mutations.text, words=WORDS)),
    Target("binary", "POST .../infer, JSON and binary data", binaries(), binary,
           mutate=partial(mutations.text, words=WORDS)),
    Target("generate", "POST .../generate", [b'{"text": "hi", "size": [1, 2], "id": "i"}',
           b'{"text": ["a", "b"], "parameters": {"max": 5, "t": 0.5}}'], generate,
           mutate=mutations.text),
    Target("headers", "gRPC's headers", HEADERS, headers, mutate=mutations.text),
    Target("inflate", "compressed bodies and messages",
           [b"g" + compressed(b"hello" * 50, b"gzip"), b"d" + compressed(bytes(99), b"deflate")],
           inflate, unpacks=1000),
]  # fmt: skip
