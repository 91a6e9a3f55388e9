"""A worker that is told to stop: whose request is still on its way."""

import asyncio
import contextlib
from typing import Any

import pytest
from uvicorn import Config, Server
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from scoreline_fraud.serving.connections import Patient

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def asked_while_stopping(protocol: Any, *, before: int) -> bytes:
    """What a connection gets that is open when the server is told to stop, and asks a moment later."""
    server = Server(Config(application, port=0, http=protocol, lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    for _ in range(before):
        writer.write(REQUEST)
        await reader.readuntil(b"ok")
    await asyncio.sleep(0.05)
    server.should_exit = True
    await asyncio.sleep(0.4)
    with contextlib.suppress(ConnectionError):
        writer.write(REQUEST)
        found = await reader.read()
        writer.close()
        await asyncio.wait_for(serving, timeout=10)
        return found
    return b""


def test_a_connection_that_has_not_asked_yet_is_answered_and_then_closed() -> None:
    assert asyncio.run(asked_while_stopping(Patient, before=0)).endswith(b"ok")


def test_a_kept_connection_is_closed_at_once() -> None:
    assert asyncio.run(asked_while_stopping(Patient, before=1)) == b""


@pytest.mark.parametrize("before", [0, 1])
def test_uvicorn_itself_closes_both(before: int) -> None:
    """If this fails, uvicorn waits by itself and `Patient` can go."""
    assert asyncio.run(asked_while_stopping(AutoHTTPProtocol, before=before)) == b""
