"""Rules of restricted protocols, as the command line has them."""

import pytest

from penstock.errors import InvalidConfiguration
from penstock.gateway.restrictions import PROTOCOLS, Rule, parse_rules
from penstock.gateway.servicer import SERVICE
from penstock.protos import grpc_service_pb2 as pb


def test_a_rule_names_protocols_a_header_and_its_value():
    rules = parse_rules(["model-config,logging:Admin=a=b", "health:h="])

    admin = Rule("triton-grpc-protocol-admin", "a=b")
    assert rules == {
        "model-config": admin,
        "logging": admin,
        "health": Rule("triton-grpc-protocol-h", ""),
    }


@pytest.mark.parametrize("text", ["health", "health:key", ":key=value", "health:=value", ""])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(InvalidConfiguration, match="is not <protocols>:<key>=<value>"):
        parse_rules([text])


def test_a_protocol_that_there_is_not_is_refused():
    with pytest.raises(InvalidConfiguration, match="there is no protocol 'helth', only health"):
        parse_rules(["health,helth:key=value"])


def test_a_protocol_cannot_be_restricted_twice():
    with pytest.raises(InvalidConfiguration, match="'health' is restricted twice"):
        parse_rules(["health:a=b", "health:c=d"])


def test_each_method_of_the_protocol_is_in_exactly_one_group():
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    prefixes = [prefix for group in PROTOCOLS.values() for prefix in group]

    for method in service.methods:
        path = f"{SERVICE}/{method.name}"
        assert sum(path.startswith(prefix) for prefix in prefixes) == 1, method.name
