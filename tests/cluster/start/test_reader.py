"""The example of an ensemble of Python, ONNX and Python, as its page says."""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from support.processes.cluster import Cluster
from tritonclient.utils import InferenceServerException

EXAMPLES = Path(__file__).parents[3] / "examples"
IMAGES = sorted((EXAMPLES / "digits" / "images").glob("*.png"))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    one = Cluster(
        tmp_path_factory.mktemp("reader"),
        EXAMPLES / "digits" / "models",
        *("--models", str(EXAMPLES / "reader" / "models"), "--allow-python-models"),
    )
    with one.running():
        yield one


@pytest.fixture
def client(running):
    with triton.InferenceServerClient(running.url) as client:
        yield client


def pictures(*contents):
    one = triton.InferInput("PICTURE", [len(contents), 1], "BYTES")
    one.set_data_from_numpy(np.array([[content] for content in contents], dtype=object))
    return [one]


def answers(client, *contents, **parameters):
    given = {"parameters": parameters} if parameters else {}
    result = client.infer("reader", pictures(*contents), client_timeout=20, **given)
    return [text.decode() for text in result.as_numpy("ANSWER")[:, 0]]


def png(lines):
    """A file of 8-bit grey values; each line begins with the number of its filter."""

    def part(name, content):
        body = name + content
        return len(content).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)

    size = (len(lines[0]) - 1).to_bytes(4) + len(lines).to_bytes(4)
    content = zlib.compress(b"".join(bytes(line) for line in lines))
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            part(b"IHDR", size + bytes([8, 0, 0, 0, 0])),
            part(b"IDAT", content),
            part(b"IEND", b""),
        ]
    )


def test_the_script_reads_the_digits(running):
    told = subprocess.run(
        [sys.executable, str(EXAMPLES / "reader" / "read.py"), *IMAGES, "--url", running.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    read = dict(line.split(".png: ") for line in told.splitlines())
    assert list(read) == list("0123456789")
    # What is sure is right; of what is not, both that it may be are told.
    assert all(digit in answer for digit, answer in read.items())
    unsure = {digit: answer for digit, answer in read.items() if answer != digit}
    assert unsure == {"3": "3 or 5?", "5": "9 or 5?", "9": "9 or 3?"}


def test_a_request_may_ask_for_more_than_the_rule_does(client):
    content = IMAGES[7].read_bytes()

    assert answers(client, content) == ["7"]
    (unsure,) = answers(client, content, least_sure=1.5)
    assert unsure.startswith("7 or ")


def test_the_reply_says_whether_it_is_sure(client):
    inputs = pictures(IMAGES[3].read_bytes(), IMAGES[7].read_bytes())
    result = client.infer("reader", inputs, client_timeout=20)

    assert result.as_numpy("SURE").tolist() == [[False], [True]]


def test_a_larger_picture_with_every_filter_is_read_alike(client):
    """Twice as wide and high, each pair of lines written with another filter."""
    small = client.infer("decode", _renamed(IMAGES[7].read_bytes()), client_timeout=20)
    ink = (small.as_numpy("image")[0, 0] * 255).round().astype(int).repeat(2, 0).repeat(2, 1)
    lines, above = [], [0] * 16
    for number, line in enumerate(ink.tolist()):
        kind = number % 5
        lines.append([kind, *_filtered(kind, line, above)])
        above = line

    again = client.infer("decode", _renamed(png(lines)), client_timeout=20)

    np.testing.assert_allclose(again.as_numpy("image"), small.as_numpy("image"), atol=1e-6)


def _renamed(content):
    one = triton.InferInput("picture", [1, 1], "BYTES")
    one.set_data_from_numpy(np.array([[content]], dtype=object))
    return [one]


def _filtered(kind, line, above):
    found, left, corner = [], 0, 0
    for value, up in zip(line, above, strict=True):
        around = left + up - corner
        nearest = min((left, up, corner), key=lambda one: abs(around - one))
        guess = (0, left, up, (left + up) // 2, nearest)[kind]
        found.append((value - guess) % 256)
        left, corner = value, up
    return found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GIF89a", "the picture is not a PNG file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "the picture is damaged"),
        (IMAGES[0].read_bytes()[:60], "the picture is damaged"),
        (png([[0] * 10] * 9), "width and height must be multiples of 8, not 9 x 9"),
        (png([[7] * 9] * 8), "the picture is damaged"),
    ],
)
def test_what_is_no_picture_is_refused_and_the_step_is_named(client, content, said):
    with pytest.raises(InferenceServerException) as caught:
        answers(client, content)

    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert caught.value.message() == f"in ensemble 'reader', {said} (step 'decode')"
