"""What is sent to a platform's interface, and what its answers become."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from deploy.filled import request
from scoreline.deploy.requests import Post
from scoreline.errors import RunFailed


@pytest.fixture
def livy() -> Iterator[tuple[str, list[Any]]]:
    """A server that takes one field too few, as Livy does."""
    got: list[Any] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((self.path, self.headers["Authorization"], body))
            self.send_response(400 if "unknown" in body else 201)
            if "cut" in body:
                self.send_header("Content-Length", "1000")
            self.end_headers()
            if "cut" in body:
                self.wfile.write(b'{"id": ')
                return
            self.wfile.write(b'{"msg": "unknown field"}' if "unknown" in body else b'{"id": 7, "state": "starting"}')

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/batches", got
    server.shutdown()
    server.server_close()


def test_a_request_is_posted_with_its_login(livy: tuple[str, list[Any]]) -> None:
    url, got = livy
    body = json.dumps(request("hdinsight"))
    post = Post(url, body, "admin", "s3cret")
    assert "s3cret" not in f"{post} {post!r}"
    assert json.loads(post.run())["id"] == 7
    assert got == [("/batches", "Basic YWRtaW46czNjcmV0", json.loads(body))]


def test_a_token_is_sent_and_never_shown(livy: tuple[str, list[Any]]) -> None:
    url, got = livy
    post = Post(url, "{}", token="ya29.s3cret")
    assert "s3cret" not in f"{post} {post!r}"
    post.run()
    assert got == [("/batches", "Bearer ya29.s3cret", {})]


def test_what_the_server_says_of_a_bad_request_is_shown(livy: tuple[str, list[Any]]) -> None:
    with pytest.raises(RunFailed, match=r"answered 400: .*unknown field"):
        Post(livy[0], '{"unknown": 1}').run()


def test_an_answer_that_ends_too_early_is_one_message(livy: tuple[str, list[Any]]) -> None:
    with pytest.raises(RunFailed, match=r"/batches did not answer to the end: .*7 bytes read"):
        Post(livy[0], '{"cut": 1}').run()


def test_a_server_that_is_away_is_one_message() -> None:
    with pytest.raises(RunFailed, match=r"http://127.0.0.1:1/batches cannot be reached"):
        Post("http://127.0.0.1:1/batches", "{}").run()
