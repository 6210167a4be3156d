"""Both servers of RPCs, and clients that have one connection each."""

import json

import grpc
import pytest
from support.servers.rpc_server import serving

KINDS = ("aio", "asgi")
MOST_MIB = 16
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]


class Client:
    """One connection to the methods of `support.servers.rpc_server`."""

    def __init__(self, channel):
        self.channel = channel

    def one(self, name):
        """A method that takes one message and gives one."""
        return self.channel.unary_unary(f"/t.T/{name}")

    def answers(self, name):
        """... and gives many."""
        return self.channel.unary_stream(f"/t.T/{name}")

    def collects(self, name):
        """A method that takes many messages and gives one."""
        return self.channel.stream_unary(f"/t.T/{name}")

    def converses(self, name):
        """... and gives many."""
        return self.channel.stream_stream(f"/t.T/{name}")

    def seen(self):
        """What became of the calls that the server has had."""
        return json.loads(self.one("Seen")(b"", timeout=20))


@pytest.fixture(scope="session", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def address(kind):
    """A server that takes messages of `MOST_MIB`."""
    with serving(kind, max_message_mib=MOST_MIB) as found:
        yield found


@pytest.fixture
def connect(address):
    """Makes clients, each with a connection of its own."""
    channels = []

    def connect(address=address, **options):
        compression, credentials = options.pop("compression", None), options.pop("tls", None)
        given = [*{**dict(OPTIONS), **options}.items()]
        if credentials is None:
            channel = grpc.insecure_channel(address, given, compression=compression)
        else:
            channel = grpc.secure_channel(address, credentials, given, compression=compression)
        channels.append(channel)
        return Client(channel)

    yield connect
    for channel in channels:
        channel.close()


@pytest.fixture
def client(connect):
    return connect()
