"""What HTTP makes of failures, encodings, and messages."""

import json
import random
import re

import pytest

from penstock.errors import Code, InvalidRequest, ModelNotFound, ModelNotReady, Unimplemented
from penstock.gateway.access.caller import ANYBODY
from penstock.gateway.fronts.compression import Damaged, Inflation, TooLarge, compressed
from penstock.gateway.fronts.http.administration import Administration
from penstock.gateway.fronts.http.app import routes_of
from penstock.gateway.fronts.http.exchange import accepted, segment
from penstock.gateway.fronts.http.generate import Generate
from penstock.gateway.fronts.http.json_messages import as_json, parsed_object
from penstock.gateway.fronts.http.openapi import document, templates
from penstock.gateway.fronts.http.rest import Rest
from penstock.gateway.fronts.http.statuses import STATUSES, Refused, refusal_of
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import model_config_pb2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("x"), 400),
        (ModelNotFound("x"), 404),
        (ModelNotReady("x"), 503),
        (Unimplemented("x"), 501),
        (Refused(405, "x"), 405),
        (TooLarge("x"), 413),
    ],
)
def test_failures_have_the_statuses_that_triton_gives_them(error, status):
    found, headers, body = refusal_of(error, ANYBODY)

    assert (found, json.loads(body)) == (status, {"error": "x"})
    assert [name for name, _ in headers] == ([b"retry-after"] if status == 503 else [])


def test_what_nobody_foresaw_leaves_as_an_id():
    status, _, body = refusal_of(ValueError("secret"), ANYBODY)

    assert status == 500
    assert json.loads(body)["error"].startswith("internal error ")


def test_each_code_has_a_status():
    assert set(STATUSES) == set(Code)


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (b"", b"identity"),
        (b"gzip", b"gzip"),
        (b"GZIP, deflate", b"gzip"),
        (b"gzip;q=0.5, deflate;q=0.8", b"deflate"),
        (b"gzip; q=0", b"identity"),
        (b"br, zstd", b"identity"),
        (b"gzip;q=x, deflate;q=0.1", b"deflate"),
        (b"identity;q=1, gzip;q=0.5", b"identity"),
        (b"*", b"identity"),
    ],
)
def test_the_encoding_that_a_client_likes_best(header, encoding):
    assert accepted(header) == encoding


def test_parts_of_paths():
    assert segment("a%20b%2Fc") == "a b/c"
    with pytest.raises(Refused):
        segment("%ff")


class TestDecompression:
    """Of what anybody may send."""

    @pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
    def test_steps_make_the_whole(self, encoding):
        message = bytes(range(256)) * 1000

        inflation = Inflation(compressed(message, encoding), encoding, 1 << 20)
        assert inflation.step(10) is None
        assert inflation.whole() == message

    def test_no_more_than_is_allowed_is_made(self):
        bomb = compressed(bytes(50 << 20), b"gzip")

        with pytest.raises(TooLarge):
            Inflation(bomb, b"gzip", 1 << 20).whole()

    @pytest.mark.parametrize("damage", [lambda m: m[:-5], lambda m: b"x" + m, lambda _: b""])
    def test_damage_is_said(self, damage):
        message = compressed(b"hello" * 100, b"gzip")

        with pytest.raises(Damaged):
            Inflation(damage(message), b"gzip", 1 << 20).whole()


class TestMessages:
    """Messages as JSON."""

    def test_half_a_character_is_refused_however_it_is_written_and_nothing_else(self):
        chance = random.Random(5)  # noqa: S311
        pieces = [b"\\ud83d", b"\\ude00", b"\\uD800", b"\\uDFFF", b"\\u0061", b"\\\\", b"d83d"]
        pieces += [b"ude00", b"x", b"\\n", "é퟿😀".encode(), b"\\ued9f"]
        refused = 0
        for _ in range(3000):
            body = b'{"a": "' + b"".join(chance.choices(pieces, k=chance.randrange(1, 7))) + b'"}'
            is_half = any("\ud800" <= one <= "\udfff" for one in json.loads(body)["a"])
            refused += is_half
            if is_half:
                with pytest.raises(InvalidRequest, match="half a character"):
                    parsed_object(body)
            else:
                assert parsed_object(body) == json.loads(body)
        assert 500 < refused < 2500

    def test_numbers_of_64_bits_are_numbers(self):
        response = pb.ModelStatisticsResponse()
        response.model_stats.add(name="m", version="1", last_inference=2**53)

        (found,) = as_json(response)["model_stats"]
        assert found["last_inference"] == 2**53
        assert found["inference_count"] == 0

    def test_a_configuration(self):
        config = model_config_pb2.ModelConfig(name="m", max_batch_size=8)
        config.input.add(name="x", data_type=model_config_pb2.TYPE_FP32, dims=[-1, 3])
        config.parameters["k"].string_value = "v"
        config.dynamic_batching.preferred_batch_size.append(4)

        found = as_json(config)
        assert found["input"][0]["data_type"] == "TYPE_FP32"
        assert found["input"][0]["dims"] == [-1, 3]
        assert found["parameters"] == {"k": {"string_value": "v"}}
        assert found["dynamic_batching"]["preferred_batch_size"] == [4]
        assert "sequence_batching" not in found
        json.dumps(found)


class TestDescription:
    """The OpenAPI document, beside the routes that it is made of."""

    ROUTES = routes_of(Rest(*[None] * 4), Administration(None, None), Generate(None, None, None))

    def test_each_path_of_it_leads_to_its_route(self):
        found = json.loads(document(self.ROUTES))

        for path in found["paths"]:
            filled = re.sub(r"{version}", "1", path)
            filled = re.sub(r"{\w+}", "x", filled)
            assert any(route.pattern.fullmatch(filled) for route in self.ROUTES), path
        assert "/v2/models/{model}/versions/{version}/infer" in found["paths"]
        assert "/v2/systemsharedmemory/status" in found["paths"]

    def test_each_route_is_in_it_and_says_what_it_answers(self):
        found = json.loads(document(self.ROUTES))

        for route in self.ROUTES:
            for path in templates(route.pattern.pattern):
                for method in route.methods:
                    assert found["paths"][path][method.lower()]["summary"].endswith(".")

    def test_each_route_stands_for_a_method_that_there_is(self):
        service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]

        assert {route.rpc for route in self.ROUTES} == set(service.methods_by_name)


@pytest.mark.parametrize(
    "text",
    [rb"\ud800", rb"\uDE00", rb"\ud83d\ud83d\ude00", rb"\ud83d\ude00\ude00", b"\xed\xa0\x80"],
)
def test_half_a_character_is_refused_before_anybody_has_to_encode_it(text):
    for body in (b'{"a": ["%s"]}' % text, b'{"%s": 1}' % text):
        with pytest.raises(InvalidRequest, match="half a character"):
            parsed_object(body)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rb"\ud83d\ude00\uD83D\uDE00", "\U0001f600" * 2),
        (rb"\\ud800", "\\ud800"),
        ("\U0001f600\ud7ff".encode(), "\U0001f600\ud7ff"),
    ],
)
def test_whole_characters_are_read_however_they_are_written(text, said):
    assert parsed_object(b'{"a": "%s"}' % text) == {"a": said}
