"""A server that stands for whoever is told of a command."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@pytest.fixture
def answering() -> Iterator[tuple[str, list[Any], dict[str, int]]]:
    """host:port of a server, the path, headers and body of each request, and how it answers: `status`; 0 is never."""
    asked: list[Any] = []
    says = {"status": 200}
    over = threading.Event()

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            asked.append((self.path, dict(self.headers), body))
            if not says["status"]:
                over.wait()
                return
            self.send_response(says["status"])
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", asked, says
        over.set()
        server.shutdown()
