"""Where applications ask for runs: `/signals`, `/webhooks`, `/healthz` and `/metrics`.

Who asks is told 202 when what is asked for is on disk, and never before.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from scoreline.config.settings import Settings
from scoreline.config.sources import KeyType
from scoreline.config.watch import HttpSettings, TriggerSettings
from scoreline.errors import ConfigurationError, InputError
from scoreline.operations.ui.server import is_own_name, listen
from scoreline.sources.whole_numbers import typed_id
from scoreline.watch.journal import Ask, Journal, JournalFailed, Start
from scoreline.watch.supervisor import Supervisor

__all__ = ["application", "serving"]

_LARGEST = 1 << 20  # bytes of a body
_DEAD = 60.0  # seconds without a beat of who does the work
_PATIENCE = 30.0  # seconds for a body to come
_LEAVING = 3  # seconds that who asks has when the watch ends
_OLDEST = 300  # seconds that a signed delivery may have been on its way
_FIELDS = ("users", "everyone")
_ADDRESSES = "POST /signals/NAME, GET /signals/ID, POST /webhooks/NAME, GET /healthz or GET /metrics"


class _Refused(Exception):
    """A request that is answered by its status and a sentence."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


def application(
    settings: Settings, http: HttpSettings, journal: Journal, supervisor: Supervisor, wake: Callable[[], None]
) -> Starlette:
    """The routes. wake: is called when something has been accepted."""
    clock, kind = supervisor.clock, settings.keys.user_id

    def asked_for(request: Request, by: Literal["signal", "webhook"]) -> TriggerSettings:
        found = supervisor.triggers.get(request.path_params["name"])
        if found is None or found.kind != by:
            names = ", ".join(one.name for one in supervisor.triggers.values() if one.kind == by) or "none"
            more = f"; there is {names}" if by == "signal" else ""  # who asks for a webhook may be anybody
            raise _Refused(404, f"there is no {by} of this name{more}")
        return found

    async def accepted(trigger: TriggerSettings, ask: Ask, key: str | None) -> Response:
        now = clock()
        due = now + trigger.debounce.total_seconds()
        start = await run_in_threadpool(journal.accept, trigger.name, ask, now=now, due_at=due, key=key)
        if start is None:
            raise _Refused(422, "this Idempotency-Key came before, with another request")
        wake()
        return JSONResponse(_shown(start), 202, headers={"location": f"/signals/{start.id}"})

    async def signal(request: Request) -> Response:
        trigger = asked_for(request, "signal")
        return await accepted(trigger, _asked(await _body(request), kind), request.headers.get("idempotency-key"))

    async def webhook(request: Request) -> Response:
        trigger = asked_for(request, "webhook")
        body = await _body(request)
        delivery = request.headers.get("x-mlflow-delivery-id", "")
        secret = trigger.webhook.get_secret_value() if trigger.webhook else ""
        _require_signed(request, body, secret, now=clock())
        return await accepted(trigger, Ask(), delivery)

    async def state(request: Request) -> Response:
        start = await run_in_threadpool(journal.get, request.path_params["id"])
        if start is None:
            raise _Refused(404, "there is no signal of this id; those that ended are kept for a week")
        return JSONResponse(_shown(start))

    async def health(request: Request) -> Response:
        seen, silent = supervisor.seen, clock() - supervisor.seen.beat_at
        said: dict[str, object] = {"state": "well" if silent < _DEAD else "stuck"}
        if _is_known(request, http):
            ended = {f"{name} {how}": count for (name, how), count in dict(seen.chains).items()}
            said |= {"running": seen.running, "waiting": await run_in_threadpool(journal.waiting), "ended": ended}
        return JSONResponse(said, 200 if silent < _DEAD else 503)

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(_metrics(settings.name, await run_in_threadpool(journal.waiting), supervisor))

    def guarded(answer: Callable[[Request], Awaitable[Response]], *, is_open: bool = False) -> Any:
        async def answered(request: Request) -> Response:
            try:
                if not is_open:
                    _require_known(request, http)
                return await answer(request)
            except _Refused as refused:
                headers = {"www-authenticate": "Bearer"} if refused.status == 401 else None
                return JSONResponse({"error": refused.said}, refused.status, headers=headers)
            except JournalFailed as failed:
                said = f"{failed}. Nothing was accepted; ask again when the watch can write"
                return JSONResponse({"error": said}, 503, headers={"retry-after": "60"})

        return answered

    return Starlette(
        routes=[
            Route("/signals/{name}", guarded(signal), methods=["POST"]),
            Route("/signals/{id}", guarded(state), methods=["GET"]),
            Route("/webhooks/{name}", guarded(webhook, is_open=True), methods=["POST"]),  # signed
            Route("/healthz", guarded(health, is_open=True), methods=["GET"]),
            Route("/metrics", guarded(metrics), methods=["GET"]),
        ],
        exception_handlers={HTTPException: _elsewhere},
    )


async def _elsewhere(request: Request, error: Exception) -> Response:
    """An address, or a method of one, that there is not."""
    assert isinstance(error, HTTPException)
    said = f"there is no {request.method} of this address; expected {_ADDRESSES}"
    return JSONResponse({"error": said}, error.status_code, headers=error.headers)


def _require_known(request: Request, http: HttpSettings) -> None:
    if http.token is None and not _is_of_this_machine(request):
        raise _Refused(403, "a page of another site asks for it; without watch.http.token only this machine may")
    if _is_known(request, http):
        return
    if http.token is None:
        raise _Refused(400, "this machine is asked by another name: ask localhost")
    raise _Refused(401, "expected a bearer token, that of watch.http.token, in the header Authorization")


def _is_known(request: Request, http: HttpSettings) -> bool:
    """Whether a request has the token; without one whether it asks this machine, and not a page that leads here."""
    if http.token is None:
        return is_own_name(request.scope)
    said = request.headers.get("authorization", "")
    return hmac.compare_digest(said.encode(), f"Bearer {http.token.get_secret_value()}".encode())


def _is_of_this_machine(request: Request) -> bool:
    """Whether no page of another site has a browser ask: programs send no Origin, and a browser with each POST."""
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


async def _body(request: Request) -> bytes:
    too_large = _Refused(413, f"a body has at most {_LARGEST:,} bytes; send several signals")
    if int(request.headers.get("content-length", 0)) > _LARGEST:
        raise too_large
    found = b""
    try:
        async with asyncio.timeout(_PATIENCE):
            async for part in request.stream():
                found += part
                if len(found) > _LARGEST:
                    raise too_large
    except TimeoutError:
        raise _Refused(408, f"the body did not come within {_PATIENCE:.0f} seconds") from None
    except asyncio.CancelledError:
        raise _Refused(503, "the watch ends; ask again when it is back") from None
    except ClientDisconnect:
        raise _Refused(400, "the body was broken off") from None
    return found


def _asked(body: bytes, kind: KeyType) -> Ask:
    """What a body asks for; raises _Refused with what is wrong about it."""
    try:
        said = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise _Refused(422, 'the body is no JSON; expected {"users": [42, 43]}, or none') from None
    unknown = sorted(set(said) - set(_FIELDS)) if isinstance(said, dict) else [type(said).__name__]
    if unknown:
        expected = f'an object with {" and ".join(_FIELDS)} at most, such as {{"users": [42, 43]}}'
        raise _Refused(422, f"expected {expected}; found {unknown[0][:40]}")
    users, everyone = said.get("users"), said.get("everyone", False)
    if not isinstance(everyone, bool):
        raise _Refused(422, "everyone is true or false")
    if users is None:
        return Ask(None, everyone)
    if not isinstance(users, list) or not users:
        raise _Refused(422, "users is a list of at least one id; leave it out for all users")
    return Ask(tuple(_id(user, kind) for user in users), everyone)


def _id(said: object, kind: KeyType) -> int | str:
    if isinstance(said, bool) or not isinstance(said, str if kind == "string" else int | str):
        wanted = "a text (keys.user_id: string)" if kind == "string" else "a number or a text"
        raise _Refused(422, f"an id is {wanted}, found {json.dumps(said)[:40]}")
    try:
        return typed_id(str(said), kind, "user")  # type: ignore[no-any-return]
    except InputError as error:
        raise _Refused(422, str(error)) from None


def _require_signed(request: Request, body: bytes, secret: str, *, now: float) -> None:
    """As MLflow signs what its webhooks send: https://mlflow.org/docs/latest/ml/webhooks/"""
    delivery, moment = (request.headers.get(f"x-mlflow-{name}", "") for name in ("delivery-id", "timestamp"))
    signed = hmac.new(secret.encode(), f"{delivery}.{moment}.".encode() + body, hashlib.sha256).digest()
    expected = f"v1,{base64.b64encode(signed).decode()}"
    if not hmac.compare_digest(request.headers.get("x-mlflow-signature", "").encode(), expected.encode()):
        raise _Refused(401, "the signature is not that of this webhook's secret")
    if not moment.isdigit() or abs(now - int(moment)) > _OLDEST:
        raise _Refused(401, f"the delivery is more than {_OLDEST} seconds old, or of the future")


def _shown(start: Start) -> dict[str, object]:
    moments = {"accepted_at": start.accepted_at, "ended_at": start.ended_at}
    said = {
        name: at and datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") for name, at in moments.items()
    }
    return {
        "id": start.id,
        "signal": start.trigger,
        "state": start.state,
        "attempts": start.attempts,
        **said,
        **start.outcome,
    }


def _metrics(pipeline: str, waiting: dict[str, int], supervisor: Supervisor) -> str:
    try:
        from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
    except ImportError:
        raise _Refused(501, "metrics need the package prometheus-client: pip install 'scoreline[metrics]'") from None
    registry, seen = CollectorRegistry(), supervisor.seen
    labels = ["pipeline", "trigger"]
    ended = Counter("scoreline_watch_chains", "Chains of steps that ended.", [*labels, "state"], registry=registry)
    for (trigger, state), count in dict(seen.chains).items():
        ended.labels(pipeline, trigger, state).inc(count)
    last = Gauge("scoreline_watch_last_end_timestamp_seconds", "When a chain ended.", labels, registry=registry)
    for trigger, at in dict(seen.ended_at).items():
        last.labels(pipeline, trigger).set(at)
    queued = Gauge("scoreline_watch_waiting", "Starts that are queued or running.", labels, registry=registry)
    for trigger in supervisor.triggers:
        queued.labels(pipeline, trigger).set(waiting.get(trigger, 0))
    workers = Counter("scoreline_watch_workers", "Workers that were started.", ["pipeline"], registry=registry)
    workers.labels(pipeline).inc(seen.workers)
    held = Gauge(
        "scoreline_watch_worker_bytes", "Memory of the worker after its last chain.", ["pipeline"], registry=registry
    )
    held.labels(pipeline).set(seen.worker_bytes)
    return str(generate_latest(registry).decode())


@contextmanager
def serving(routes: Starlette, http: HttpSettings) -> Iterator[str]:
    """Inside, the routes answer in a thread; gives the address. Raises ConfigurationError for one that is taken."""
    try:
        listening, address = listen(http.host, http.port)
    except OSError as error:
        raise ConfigurationError(
            f"watch.http: nobody can listen on {http.host}, port {http.port}: {error.strerror}. Choose another port."
        ) from None
    config = uvicorn.Config(
        routes, log_level="warning", access_log=False, server_header=False, lifespan="off",
        timeout_graceful_shutdown=_LEAVING,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="http", daemon=True)
    with listening:
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(timeout=10)
