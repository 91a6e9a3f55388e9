"""What uvicorn serves is MLflow's application under a time limit of ours."""

import asyncio
import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from online.conftest import Registry, World
from scoreline_fraud.server.fetching import fetch_model
from scoreline_fraud.serving.application import TimeLimit, limited

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own queries


async def ask(application: Any, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body that an ASGI application answers."""
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST" if body else "GET", "path": path,
        "raw_path": path.encode(), "query_string": b"", "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "scheme": "http", "root_path": "",
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
def model(world: World, registry: Registry, tmp_path: Path) -> Any:
    import mlflow

    rules = {"features": {"snapshot": str(world.snapshot)}, "limits": {"max_clock_difference_s": None}}
    fetched = fetch_model("models:/card_fraud@champion", into=tmp_path, tracking_uri=registry.uri)
    return mlflow.pyfunc.load_model(str(fetched.folder), model_config=rules)


def test_mlflows_routes_answer_as_under_its_own_limit(model: Any, payment: Any) -> None:
    from mlflow.pyfunc import scoring_server

    body = json.dumps({"inputs": [payment(), {"amount": -1}]}).encode()
    ours, theirs = limited(scoring_server.init(model), 5), scoring_server.init(model)
    assert [each.cls for each in ours.user_middleware] == [TimeLimit]
    for path, posted in (
        ("/ping", b""),
        ("/version", b""),
        ("/invocations", body),
        ("/invocations", b"{"),
        ("/no", b""),
    ):
        assert asyncio.run(ask(ours, path, posted)) == asyncio.run(ask(theirs, path, posted)), path


def test_a_request_that_takes_longer_is_answered_504(model: Any, payment: Any, monkeypatch: Any) -> None:
    from mlflow.pyfunc import scoring_server

    over = threading.Event()
    monkeypatch.setattr(model.unwrap_python_model(), "predict", lambda *_, **__: over.wait(20) and [])
    application = limited(scoring_server.init(model), 0.2)

    async def asked() -> tuple[int, bytes]:
        found = await ask(application, "/invocations", json.dumps({"inputs": [payment()]}).encode())
        over.set()  # the thread goes on, and the loop's end would wait for it
        return found

    assert asyncio.run(asked()) == (504, b"Request processing time exceeded limit")


def test_an_answer_that_has_begun_is_broken_off_rather_than_answered_twice() -> None:
    async def dripping(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(20)

    with pytest.raises(TimeoutError):
        asyncio.run(ask(TimeLimit(dripping, 0.05), "/"))


def test_an_application_that_is_not_as_known_is_left_as_it_is(model: Any, caplog: Any) -> None:
    from mlflow.pyfunc import scoring_server
    from starlette.middleware.gzip import GZipMiddleware

    application = scoring_server.init(model)
    application.add_middleware(GZipMiddleware)
    before = list(application.user_middleware)
    with caplog.at_level(logging.WARNING):
        assert limited(application, 5).user_middleware == before
    assert "found ['GZipMiddleware', 'timeout_middleware']" in caplog.text
