"""Requests to an application in this process, as a server would make them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str


def asked(
    application: Any,
    url: str,
    *,
    method: str = "GET",
    host: str | None = "localhost:8765",
    body: bytes = b"",
    **headers: str,
) -> Answer:
    """What is answered to one request; `host=None` sends no such header, and in a name `_` stands for `-`."""
    parts = urlsplit(url)
    said: Mapping[str, str | None] = {"host": host, **headers}
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": parts.path,
        "raw_path": parts.path.encode(), "root_path": "", "query_string": parts.query.encode(),
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in said.items() if value is not None
        ],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8765),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, body.decode())
