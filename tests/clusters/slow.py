"""A store that takes long to write what it was sent: a relay before a server, which holds commits of Delta back."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep

import requests

from clusters.processes import free_port

_COMMIT = re.compile(r"/_delta_log/\d{20}\.json$")


@contextmanager
def slow(url: str, *, seconds: float) -> Iterator[str]:
    """The address at which a server answers as at `url`, but writes each commit of Delta that much later."""

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.command == "PUT" and _COMMIT.search(self.path):
                sleep(seconds)
            with requests.request(
                self.command, url + self.path, headers=dict(self.headers), data=body, stream=True, timeout=60
            ) as answer:
                content = answer.raw.read()
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", answer.headers.get("Content-Length") or str(len(content)))
                self.end_headers()
                with suppress(BrokenPipeError):
                    self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    for method in ("GET", "PUT", "HEAD", "POST", "DELETE"):
        setattr(Relay, f"do_{method}", Relay.handle_any)
    relay = ThreadingHTTPServer(("127.0.0.1", free_port()), Relay)
    relay.daemon_threads = True
    threading.Thread(target=relay.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{relay.server_port}"
    finally:
        relay.shutdown()
        relay.server_close()
