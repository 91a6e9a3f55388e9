"""Who may look: this machine alone, unless told, and then with a token; and what a browser may do with an answer."""

import hmac
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scoreline.config.watch import is_loopback
from scoreline.errors import ConfigurationError, InputError

TOKEN = "SCORELINE_UI_TOKEN"  # the variable's name
_COOKIE = "scoreline"
_SHORTEST = 16
# whoever asks by another name was led here by it: a page from elsewhere could read the answer
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PORT = re.compile(r":\d+$")
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Guard:
    """An application that answers whoever has the token, or without one whoever asks this machine by its own name.

    Without a `token` whoever is on this machine may look.
    """

    application: ASGIApp
    token: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *ours]}
            await send(message)

        if self.token is None and not is_own_name(scope):
            await _answer(with_headers, 400, "This machine is asked by another name: open it as localhost.")
        elif self.token is None or self._is_known(scope):
            await self.application(scope, receive, with_headers)
        elif self._brings_it(scope):
            cookie = f"{_COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            await _answer(with_headers, 303, "", {"location": "/", "set-cookie": cookie})
        else:
            await _answer(with_headers, 401, "Open the address that scoreline ui has printed: it has the token.")

    def _is_known(self, scope: Scope) -> bool:
        said = b"; ".join(value for name, value in scope["headers"] if name == b"cookie").decode("latin-1")
        try:
            morsel = SimpleCookie(said).get(_COOKIE)
        except CookieError:
            return False
        return morsel is not None and self._is_it(morsel.value)

    def _brings_it(self, scope: Scope) -> bool:
        return self._is_it(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0])

    def _is_it(self, said: str) -> bool:
        return hmac.compare_digest(said.encode(), str(self.token).encode())


def is_own_name(scope: Scope) -> bool:
    """Whether a request asks this machine by a name that it has for itself."""
    said = [_PORT.sub("", value.decode("latin-1")) for name, value in scope["headers"] if name == b"host"]
    return len(said) == 1 and said[0] in _LOCAL


async def _answer(send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    said = {"content-type": "text/plain; charset=utf-8", **(headers or {})}
    listed = [(name.encode(), value.encode()) for name, value in said.items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": text.encode()})


def token_for(host: str, environ: Mapping[str, str]) -> str | None:
    """The token that an address asks for: the environment's, else a new one; None on this machine alone.

    Raises ConfigurationError for one that could be guessed.
    """
    given = environ.get(TOKEN)
    if given is not None and (len(given) < _SHORTEST or not given.isascii() or not given.isalnum()):
        raise ConfigurationError(
            f"{TOKEN} could be guessed. Give it at least {_SHORTEST} letters and digits: openssl rand -hex 24."
        )
    if given is None and is_loopback(host):
        return None
    return given or secrets.token_hex(24)


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket that listens, port 0 takes a free one, and its address; raises OSError for one that is taken."""
    is_six = ":" in host
    listening = socket.create_server((host, port), family=socket.AF_INET6 if is_six else socket.AF_INET)
    name = f"[{host}]" if is_six else host
    return listening, f"http://{name}:{listening.getsockname()[1]}"


def serve(application: ASGIApp, *, host: str, port: int, told: Callable[[str], None]) -> None:
    """Answer until somebody stops it; `told` is given the address to open. Raises InputError for one that is taken."""
    import uvicorn

    token = token_for(host, os.environ)
    try:
        listening, address = listen(host, port)
    except OSError as error:
        raise InputError(
            f"Nobody can listen on {host}, port {port}: {error.strerror}. Choose another --port."
        ) from None
    told(f"{address}/" + (f"?token={token}" if token else ""))
    config = uvicorn.Config(Guard(application, token), log_level="warning", access_log=False, server_header=False)
    with listening:
        uvicorn.Server(config).run(sockets=[listening])
