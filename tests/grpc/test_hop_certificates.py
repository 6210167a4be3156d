"""Where workers on other machines are reached: whoever has the cluster's certificates is let in."""

import asyncio

import grpc
import pytest
from support.authority import Authority
from support.hops.streams import Callers, Heard, called, streams_of
from support.waiting import until

from penstock.errors import InvalidConfiguration
from penstock.protos.hops_pb2_grpc import HopsStub
from penstock.workers.serve.language.hops import FORMAT, HopKind

NAME = "hops.penstock.test"


class TestStrangers:
    """Whoever has no certificate of the cluster says nothing, and hears nothing."""

    @pytest.fixture
    async def address(self, pair, authority):
        """Where a worker listens, to whom nobody gets through."""
        callers = Callers()
        async with streams_of(pair, authority).listening(callers) as address:
            yield address
        assert callers.all == []

    @pytest.mark.parametrize("secure", [True, False])
    async def test_one_without_a_certificate_is_refused(self, address, authority, secure):
        if secure:
            believed = grpc.ssl_channel_credentials(authority.pem)
            channel = grpc.aio.secure_channel(address, believed)
        else:
            channel = grpc.aio.insecure_channel(address)
        async with channel:
            call = HopsStub(channel).Carry(metadata=(("penstock-hop", FORMAT),))

            assert await asyncio.wait_for(call.code(), 20) is grpc.StatusCode.UNAVAILABLE

    async def test_one_of_another_authority_is_refused(self, address, tmp_path, authority):
        """Whether or not it believes the stage's."""
        other = Authority(tmp_path, "other")
        for believed in (other, authority):
            streams = streams_of(other.server(f"{believed is other}"), believed)
            with pytest.raises(OSError, match="cannot be called"):
                await streams.connect(Heard(), address)

    async def test_one_whose_certificate_is_over_is_refused(self, address, authority, monkeypatch):
        over = authority.issue("over", "127.0.0.1", expired=True)
        with pytest.raises(InvalidConfiguration, match=r"--hop-cert: .* expired"):
            streams_of(over, authority)
        # Another one does not look at its own.
        monkeypatch.setattr("penstock.transport.changing_certificates._wrong_now", lambda _: None)

        with pytest.raises(OSError, match="cannot be called"):
            await streams_of(over, authority).connect(Heard(), address)

    async def test_one_of_another_release_is_refused(self, address, pair, authority):
        async with streams_of(pair, authority)._channel(address) as channel:
            call = HopsStub(channel).Carry(metadata=(("penstock-hop", "0"),))

            assert await asyncio.wait_for(call.code(), 20) is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_server_that_only_looks_like_a_stage_is_not_spoken_to(pair, authority, tmp_path):
    """It has no certificate of the cluster, or one for another address."""
    foreign = Authority(tmp_path, "foreign")
    elsewhere = authority.issue("elsewhere", "10.9.8.7")
    for presented, believed in ((foreign.server(), authority), (elsewhere, authority)):
        async with streams_of(presented, believed).listening(Heard) as address:
            with pytest.raises(OSError, match="cannot be called"):
                await streams_of(pair, authority).connect(Heard(), address)


async def test_a_name_that_all_certificates_have_stands_for_their_addresses(authority, pair):
    named = authority.issue("named", NAME)
    async with streams_of(named, authority, NAME).listening(Heard) as address:
        async with called(streams_of(named, authority, NAME), address):
            pass
        with pytest.raises(OSError, match="cannot be called"):
            await streams_of(named, authority).connect(Heard(), address)
        with pytest.raises(OSError, match="has not the name"):
            await streams_of(pair, authority, NAME).connect(Heard(), address)
    async with streams_of(pair, authority).listening(Heard) as address:
        with pytest.raises(OSError, match="cannot be called"):
            await streams_of(named, authority, NAME).connect(Heard(), address)


async def test_certificates_that_change_count_for_the_next_stream(authority, tmp_path):
    """What goes on goes on; the old authority is believed no more."""
    before, after = Authority(tmp_path, "before"), Authority(tmp_path, "after")
    mine, now = before.server("mine"), after.server("now")
    streams = streams_of(mine, before)
    callers = Callers()

    async with streams.listening(callers) as address, called(streams, address) as old:
        mine.become(now)
        before.path.write_bytes(after.pem)
        await streams._certificates.look()
        async with called(streams_of(now, after), address):
            old.write(HopKind.PING)
            await until(lambda: callers.all[0].frames)
    assert authority.pem != after.pem
