"""Tokens of an identity provider at a whole gateway, beside keys."""

import json
import time

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from support.clients.keys import bearer
from support.processes.front import message, serving

from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.protos import grpc_service_pb2 as pb

KEY = ECKey.generate_key("P-256", {"kid": "one"})


def token(**changes):
    claims = {
        "iss": "https://issuer",
        "aud": "penstock",
        "sub": "vision",
        "exp": int(time.time()) + 600,
        "scope": "penstock:read",
    }
    return jwt.encode({"alg": "ES256", "kid": "one"}, claims | changes, KEY, algorithms=["ES256"])


@pytest.fixture(params=["aio", "asgi"])
async def front(redis_url, request, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
    terms = {"jwt_jwks": str(file), "jwt_issuer": "https://issuer", "jwt_audience": "penstock"}
    async with serving(redis_url, values=2, grpc_front=request.param, **terms) as one:
        assert await one.gateway.identity.key_sets.read()
        yield one


async def code(front, name, request, secret):
    call = front.channel.unary_unary(f"/{SERVICE}/{name}")
    return (await call(request, metadata=bearer(secret), timeout=10).code()).name


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "OK"),
        ({"exp": 1}, "UNAUTHENTICATED"),
        ({"aud": "others"}, "UNAUTHENTICATED"),
        ({"scope": "penstock:infer"}, "PERMISSION_DENIED"),
        ({"penstock_models": ["other"]}, "PERMISSION_DENIED"),
    ],
)
async def test_a_token_lets_in_whom_its_claims_say(front, changes, expected):
    request = pb.ModelReadyRequest(name="digits").SerializeToString()

    assert await code(front, "ModelReady", request, token(**changes)) == expected


async def test_without_one_nobody_is_let_in(front):
    assert await code(front, "ModelInfer", message(values=2), None) == "UNAUTHENTICATED"
