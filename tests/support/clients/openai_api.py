"""Questions to the OpenAI API of a gateway, over plain HTTP."""

import json
import urllib.error
import urllib.request


def ask(cluster, path, body=None):
    """The status, and the body as it came; a *path* without a slash is below /v1."""
    content = None if body is None else json.dumps(body).encode()
    path = path.removeprefix("/") if path.startswith("/") else f"v1/{path}"
    asked = urllib.request.Request(f"http://{cluster.http_url()}/{path}", content)
    try:
        with urllib.request.urlopen(asked) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def chunks(content):
    """The events of a stream, which must end as it should."""
    *events, done, rest = content.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events if event[0] != ":"]
