"""Rules of restricted protocols, as the command line has them."""

from typing import NamedTuple

import pytest

from penstock.errors import Code, InvalidConfiguration
from penstock.gateway.fronts.grpc.access import OPEN, PROTOCOLS, Rule, parse_rules, restricted
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.gateway.fronts.grpc.methods import names
from penstock.gateway.fronts.grpc.rpc import Method
from penstock.gateway.requests.call import Call


def test_a_rule_names_protocols_a_header_and_its_value():
    rules = parse_rules(["model-config,logging:Admin=a=b", "health:h=x"])

    admin = Rule("triton-grpc-protocol-admin", "a=b")
    assert rules == {
        "model-config": admin,
        "logging": admin,
        "health": Rule("triton-grpc-protocol-h", "x"),
    }


@pytest.mark.parametrize("text", ["health", "health:key", ":key=value", "health:=value", ""])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(InvalidConfiguration, match="is not <protocols>:<key>=<value>"):
        parse_rules([text])


@pytest.mark.parametrize("value", ["", " ", "\t "])
def test_an_empty_value_which_lets_everybody_in_is_refused(value):
    with pytest.raises(InvalidConfiguration, match=r"'health,trace:key=' has no value"):
        parse_rules(["logging:a=b", f"health,trace:key={value}"])


def test_a_value_is_in_no_error():
    with pytest.raises(InvalidConfiguration, match=r"'health:=\.\.\.' is not") as caught:
        parse_rules(["health:=swordfish"])

    assert "swordfish" not in str(caught.value)


def test_a_protocol_that_there_is_not_is_refused():
    with pytest.raises(InvalidConfiguration, match="there is no protocol 'helth', only health"):
        parse_rules(["health,helth:key=value"])


def test_a_protocol_cannot_be_restricted_twice():
    with pytest.raises(InvalidConfiguration, match="'health' is restricted twice"):
        parse_rules(["health:a=b", "health:c=d"])


def test_each_method_of_the_server_is_in_exactly_one_group():
    starts = [start for group in PROTOCOLS.values() for start in group]

    for method in names():
        assert sum(map(method.startswith, starts)) == (method not in OPEN), method


class Rpc(NamedTuple):
    call: Call
    failed: list

    def fail(self, status, *_):
        self.failed.append(Code(status))


async def let_in(_):
    return b"in"


class TestCalls:
    """What becomes of calls to methods that are restricted."""

    ADMIN = "triton-grpc-protocol-admin"

    async def answered(self, method, *metadata, rules=("inference:admin=secret",)):
        methods = restricted({method: Method(let_in)}, parse_rules(rules))
        rpc = Rpc(Call(metadata=metadata), [])
        reply = await methods[method].handle(rpc)

        assert rpc.failed == ([] if reply == b"in" else [Code.UNAVAILABLE])
        return reply == b"in"

    async def test_the_header_lets_in(self):
        method = f"/{SERVICE}/ModelInfer"

        assert await self.answered(method, (self.ADMIN, "secret"))
        assert not await self.answered(method)
        assert not await self.answered(method, (self.ADMIN, ""))
        assert not await self.answered(method, (self.ADMIN, "secre"))
        assert await self.answered(f"/{SERVICE}/ModelMetadata")

    async def test_a_binary_header_is_compared_as_bytes(self):
        rules, method = ["inference:admin-bin=secret"], f"/{SERVICE}/ModelInfer"

        assert await self.answered(method, (f"{self.ADMIN}-bin", b"secret"), rules=rules)
        assert not await self.answered(method, (f"{self.ADMIN}-bin", b"x"), rules=rules)

    async def test_reflection_is_a_group(self):
        method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

        assert await self.answered(method)
        assert not await self.answered(method, rules=["reflection:admin=secret"])

    async def test_what_is_in_no_group_is_refused_once_there_is_a_rule(self):
        assert not await self.answered("/of.a.later.release/Method")
        assert await self.answered("/of.a.later.release/Method", rules=[])
        assert await self.answered("/grpc.health.v1.Health/Watch", rules=["health:admin=secret"])

    def test_a_method_streams_as_before(self):
        methods = restricted(
            {f"/{SERVICE}/ModelStreamInfer": Method(let_in, streams=True)},
            parse_rules(["inference:admin=secret"]),
        )

        assert [method.streams for method in methods.values()] == [True]
