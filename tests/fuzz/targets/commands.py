"""What people write on a command line, and the plan that a load's processes are given."""

import contextlib
import io
from functools import partial

import numpy as np
from fuzz import mutations
from fuzz.engine import Target
from PIL import Image

from penstock.cli.ask import inputs
from penstock.cli.ask.inputs import Wanted, read_inputs
from penstock.errors import PenstockError
from penstock.gateway.fronts.grpc.access import parse_rules
from penstock.loadgen.plan import Plan
from penstock.scheduler.store.topology import topology_of

WANTED = (
    Wanted("x", "FP32", (-1, 3)),
    Wanted("n", "INT8", (2,)),
    Wanted("t", "BYTES", (-1, 1)),
    Wanted("h", "BF16", (2,)),
    Wanted("b", "BOOL", ()),
)


def value(data):
    """JSON after --input; files are another target's."""
    text = data.decode("utf-8", "replace")
    for wanted in WANTED:
        with contextlib.suppress(PenstockError):
            read_inputs([text.replace("@", "")], [wanted])


def file(data):
    """A .npy file or an image, by what it begins with."""
    if data.startswith(inputs._NPY_MAGIC):
        inputs._fit(inputs._from_npy(data, "file"), WANTED[0])
    else:
        inputs._from_image(data, "file", Wanted("x", "UINT8", (-1, 3, 4, 4)))


def npy():
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, 3), np.float32))
    return stream.getvalue()


def image(kind):
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, kind)
    return stream.getvalue()


def redis_url(data):
    topology_of(data.decode("utf-8", "replace"))


def restriction(data):
    parse_rules(data.decode("utf-8", "replace").split("\n"))


def plan(data):
    made = Plan.from_bytes(data)
    assert sum(map(len, made.requests)) <= len(data)


URLS = [
    *(b"redis://user:password@localhost:6379/0", b"unix:///run/redis.sock?db=1", b"rediss://[::1]"),
    *(b"redis+sentinel://a:1,b:2/mymaster/3", b"redis+cluster://u:p@h1:1,h2"),
]
JSONS = [b"x=[[1, 2.5, 3]]", b'"text"', b"[1, -2]", b't=["a", "\xc3\xa4"]', b"b=true"]
PLANS = [Plan("h:1", (b"request", b"other"), concurrency=2).to_bytes(),
         Plan("h:1", (b"r",), rate_per_s=10.0).to_bytes()]  # fmt: skip

TARGETS = [
    Target("value", "--input NAME=JSON", JSONS, value, mutate=mutations.text),
    Target("file", "--input NAME=@file, .npy or image", [npy(), image("PNG"), image("JPEG"),
           image("BMP"), image("GIF")], file, mutate=mutations.numbers, unpacks=50),
    Target("redis", "--redis URL", URLS, redis_url,
           mutate=partial(mutations.text, words=(b"redis", b"+", b"sentinel", b"cluster", b"@"))),
    Target("restriction", "--grpc-restricted-protocol", [b"health,inference:key=value",
           b"cluster:k=v\ntrace:a=b"], restriction, mutate=mutations.text),
    Target("plan", "the plan of a load", PLANS, plan, mutate=mutations.text),
]  # fmt: skip
