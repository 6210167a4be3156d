"""HTTP as it is on the wire: for curl, browsers, probes, and whoever means harm."""

import http.client
import json
import zlib

import pytest

ADDENDS = {
    "id": "mine",
    "inputs": [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": [[number] * 16]}
        for name, number in (("INPUT0", 7), ("INPUT1", 3))
    ],
}
INFER = "/v2/models/add_sub/infer"


@pytest.fixture
def ask(models_cluster):
    """Sends one request, and gives status, headers and body of its answer."""
    connection = http.client.HTTPConnection(models_cluster.http_url(), timeout=60)

    def ask(method, path, body=None, **headers):
        if isinstance(body, dict):
            body = json.dumps(body)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    yield ask
    connection.close()


def test_an_answer_in_json(ask):
    status, headers, body = ask("POST", INFER, ADDENDS)

    assert (status, headers["content-type"]) == (200, "application/json")
    outputs = [
        {"name": "OUTPUT0", "datatype": "INT32", "shape": [1, 16], "data": [10] * 16},
        {"name": "OUTPUT1", "datatype": "INT32", "shape": [1, 16], "data": [4] * 16},
    ]
    expected = {"id": "mine", "model_name": "add_sub", "model_version": "1", "outputs": outputs}
    assert json.loads(body) == expected


def test_an_answer_in_binary_says_where_its_json_ends(ask):
    request = {**ADDENDS, "parameters": {"binary_data_output": True}}

    _, headers, body = ask("POST", "/v2/models/add_sub/versions/1/infer", request)

    assert headers["content-type"] == "application/octet-stream"
    length = int(headers["inference-header-content-length"])
    sizes = [one["parameters"]["binary_data_size"] for one in json.loads(body[:length])["outputs"]]
    assert sizes == [64, 64]
    assert len(body) == length + 128


def test_answers_are_compressed_for_those_who_ask(ask):
    _, headers, body = ask("POST", INFER, ADDENDS, accept_encoding="br, gzip;q=0.9")

    assert headers["content-encoding"] == "gzip"
    assert json.loads(zlib.decompress(body, 31))["id"] == "mine"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("HEAD", "/readyz", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2", 200),
        ("GET", "/v2/models/add_sub", 200),
        ("GET", "/v2/models/add_sub/ready", 200),
        ("GET", "/v2/models/add_sub/versions/9/ready", 400),
        ("GET", "/v2/models/nothing/ready", 400),
        ("GET", "/v2/models/stats", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/add_sub/nothing", 404),
        ("GET", "/v2/models/add_sub/versions/x/ready", 404),
        ("GET", INFER, 405),
        ("POST", "/v2", 405),
        ("DELETE", "/v2/models/add_sub", 405),
        ("GET", "/v2/models/%ff/ready", 400),
        ("GET", "/v2/models/a%2Fb", 404),
    ],
)
def test_routes(ask, method, path, status):
    found, headers, body = ask(method, path)

    assert found == status
    if status > 400:
        assert list(json.loads(body)) == ["error"]
        assert headers["content-type"] == "application/json"


def test_metrics_are_prometheus_text(ask):
    _, headers, body = ask("GET", "/metrics")

    assert headers["content-type"].startswith("text/plain; version=")
    assert b"nv_inference_request_success" in body


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{", {}, 400, "failed to parse the request JSON"),
        (b"", {}, 400, "failed to parse the request JSON"),
        (b"[" * 100_000, {}, 400, "failed to parse the request JSON"),
        (b"[" * 200_000, {}, 400, "lists and objects, and may have"),
        (b"{}", {}, 400, "Unable to parse 'inputs'"),
        (b"{}", {"inference_header_content_length": "3"}, 400, "should be in range (0, 2)"),
        (b"{}", {"inference_header_content_length": "-1"}, 400, "should be in range"),
        (b"{}", {"inference_header_content_length": "0"}, 501, "binary data alone"),
        (b"x", {"content_encoding": "gzip"}, 400, "cannot be decompressed"),
        (b"x", {"content_encoding": "br"}, 415, "Unsupported compression type"),
        (None, {"content_encoding": "deflate"}, 413, "decompressed"),
    ],
)
def test_bodies_that_are_none(ask, body, headers, status, words):
    # Made here: each process of tests would make it to name the test.
    body = zlib.compress(bytes(80 << 20)) if body is None else body
    found, _, answer = ask("POST", INFER, body, **headers)

    assert found == status
    assert words in json.loads(answer)["error"]
    assert ask("GET", "/livez")[0] == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_read(models_cluster):
    connection = http.client.HTTPConnection(models_cluster.http_url(), timeout=60)
    connection.putrequest("POST", INFER)
    connection.putheader("Content-Length", str((64 << 20) + 1))
    connection.endheaders()

    answer = connection.getresponse()

    assert answer.status == 413
    assert "may have 67108864" in json.loads(answer.read())["error"]
    connection.close()


def test_heads_have_bounds(models_cluster):
    connection = http.client.HTTPConnection(models_cluster.http_url(), timeout=60)
    try:
        connection.request("GET", "/livez", headers={"x-long": "y" * 200_000})
        status = connection.getresponse().status
    except (http.client.RemoteDisconnected, ConnectionError):
        status = 431
    connection.close()

    assert status in (400, 431)
