"""What uvicorn serves: MLflow's scoring application, with its time limit as plain ASGI.

MLflow limits a request's time by a middleware of Starlette's `BaseHTTPMiddleware`, which runs each request in a task of
its own behind two in-memory streams: a third of the CPU of a small request (`make bench-online`). The limit below
promises the same (504 after `MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT` seconds) without them. Routes, parsing and answers
are MLflow's own.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

__all__ = ["TimeLimit", "app", "limited", "serving_command"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)
_MODEL_PATH: Final = "__pyfunc_model_path__"


def serving_command(model: Path) -> tuple[list[str], dict[str, str]]:
    """The command that serves a model's folder, and what its environment needs besides `settings.environment`.

    The application is the one in the model's own `code/`: a model is served by the code it was logged with.
    """
    here = __name__.removesuffix(".application")
    command = [sys.executable, "-m", "uvicorn", "--factory", f"{__name__}:app", "--http", f"{here}.connections:Patient"]
    return [*command, "--app-dir", str(model / "code")], {_MODEL_PATH: str(model)}


def app() -> Any:
    """The application of the model that `serving_command` names; everything else comes by `settings.environment`."""
    from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
    from mlflow.pyfunc import scoring_server

    model = scoring_server.load_model_with_mlflow_config(os.environ[_MODEL_PATH])
    return limited(scoring_server.init(model), MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())


def limited(application: Any, seconds: float) -> Any:
    """MLflow's application with `TimeLimit` in place of its own limit, if that is the one middleware it has."""
    from starlette.middleware import Middleware

    there = application.user_middleware
    found = [getattr(each.kwargs.get("dispatch"), "__name__", each.cls.__name__) for each in there]
    if found == ["timeout_middleware"]:
        there[:] = [Middleware(TimeLimit, seconds=seconds)]
    else:
        _log.warning("expected MLflow's timeout_middleware and no other, found %s: left as it is, slower", found)
    return application


class TimeLimit:
    """ASGI middleware: a request that takes longer is answered 504 and given up."""

    def __init__(self, app: Asgi, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self.seconds):
                await self.app(scope, receive, noted)
        except TimeoutError:
            if begun:
                raise
            text = b"Request processing time exceeded limit"
            headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]
            await send({"type": "http.response.start", "status": 504, "headers": headers})
            await send({"type": "http.response.body", "body": text})
