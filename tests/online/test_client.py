"""The client against servers that fail in every way: it always decides, in time, and never allows on a refusal."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prometheus_client import REGISTRY

from online.conftest import free_port
from scoreline_fraud.client.client import Authorization, FraudClient
from scoreline_fraud.client.metrics import observe_client
from scoreline_fraud.client.settings import ClientSettings, Fallback

pytestmark = pytest.mark.alone  # it measures time
Handler = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]
PAYMENT = {
    "transaction_id": "t-1", "card_id": "c", "terminal_id": "m", "amount": 20.0, "occurred_at": "2026-03-10T12:00:00Z",
}  # fmt: skip


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes | dict[str, Any]) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def model_row(**changes: Any) -> dict[str, Any]:
    row = {
        "transaction_id": "t-1", "fraud_probability": 0.01, "decision": "allow", "reasons": [],
        "model_version": "m/1", "features_as_of": None,
    }  # fmt: skip
    return {"predictions": [row | changes]}


@contextmanager
def server(handle: Handler) -> Iterator[tuple[str, list[float]]]:
    times: list[float] = []

    class Endpoint(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            times.append(time.monotonic())
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                handle(self, body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/invocations", times
    finally:
        listening.shutdown()
        listening.server_close()


def ask(url: str, payment: dict[str, Any] | None = None, **settings: Any) -> Authorization:
    with FraudClient(ClientSettings(url=url, **settings)) as client:
        return client.authorize(payment or PAYMENT)


def test_the_models_answer_is_returned() -> None:
    with server(lambda handler, body: answer(handler, 200, model_row(decision="deny", fraud_probability=0.97))) as (
        url,
        _,
    ):
        found = ask(url)
    assert (found.decision, found.decision_source, found.model_version) == ("deny", "model", "m/1")
    assert not found.flagged


@pytest.mark.parametrize(("amount", "decision"), [(10.0, "allow"), (30.0, "allow"), (30.01, "review"), (500.0, "deny")])
def test_without_a_server_the_amount_decides(amount: float, decision: str) -> None:
    found = ask(f"http://127.0.0.1:{free_port()}/invocations", PAYMENT | {"amount": amount})
    assert (found.decision, found.decision_source, found.cause) == (decision, "fallback", "connection")
    assert found.flagged == (decision == "allow")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 422, 429])
def test_a_4xx_is_never_an_allow(status: int) -> None:
    with server(lambda handler, body: answer(handler, status, model_row())) as (url, _):
        found = ask(url, PAYMENT | {"amount": 1.0})
    assert (found.decision, found.decision_source, found.cause) == ("review", "fallback", f"status_{status}")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"not json", b"[]", b"{}", b'{"predictions": []}', b"[" * 50_000, b"x" * 100_000,
        json.dumps(model_row(decision="approve")).encode(),
        json.dumps(model_row(transaction_id="t-2")).encode(),
        json.dumps(model_row(fraud_probability=None)).encode(),
        json.dumps(model_row(fraud_probability=7.0)).encode(),
        b'{"predictions": [{"transaction_id": "t-1", "decision": "allow", "fraud_probability": NaN}]}',
    ],
)  # fmt: skip
def test_an_answer_that_is_not_understood_is_never_an_allow(body: bytes) -> None:
    with server(lambda handler, _: answer(handler, 200, body)) as (url, _):
        found = ask(url, PAYMENT | {"amount": 1.0})
    assert (found.decision, found.decision_source) == ("review", "fallback")


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_server_is_asked_once_more(status: int) -> None:
    asked: list[int] = []

    def handle(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        asked.append(1)
        answer(handler, *((status, b"") if len(asked) == 1 else (200, model_row())))

    with server(handle) as (url, _):
        found = ask(url)
    assert (found.decision_source, len(asked)) == ("model", 2)


@pytest.mark.parametrize("status", [400, 500, 504])
def test_other_failures_are_not_asked_again(status: int) -> None:
    with server(lambda handler, _: answer(handler, status, b"")) as (url, times):
        found = ask(url)
    assert (found.decision_source, len(times)) == ("fallback", 1)


def test_a_redirect_is_not_followed() -> None:
    def handle(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.send_response(307)
        handler.send_header("Location", handler.path)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with server(handle) as (url, times):
        found = ask(url)
    assert (found.decision, found.cause, len(times)) == ("review", "status_307", 1)


def test_a_hung_server_costs_no_more_than_the_read_timeout() -> None:
    with server(lambda handler, _: time.sleep(3)) as (url, times):
        began = time.monotonic()
        found = ask(url, read_timeout_s=0.2, deadline_s=1.0)
        seconds = time.monotonic() - began
    assert (found.decision_source, found.cause, len(times)) == ("fallback", "timeout", 1)
    assert seconds < 0.9


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_dripping_server_costs_no_more_than_the_deadline(where: str) -> None:
    def handle(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        for byte in (head + b" " * 1000) if where == "head" else b" " * 1000:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.02)

    def handle_body(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        if where == "body":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        handle(handler, body)

    with server(handle_body) as (url, _):
        began = time.monotonic()
        found = ask(url, read_timeout_s=0.3, deadline_s=0.5)
        seconds = time.monotonic() - began
    assert (found.decision_source, found.cause) == ("fallback", "deadline")
    assert seconds < 1.0


def test_a_connection_cut_in_the_middle_is_a_fallback() -> None:
    def handle(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"pred')
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    with server(handle) as (url, _):
        found = ask(url)
    assert (found.decision_source, found.cause) == ("fallback", "connection")


def test_after_failures_in_a_row_the_server_is_left_alone_and_tried_again_later() -> None:
    healthy = threading.Event()

    def handle(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        answer(handler, *((200, model_row()) if healthy.is_set() else (500, b"")))

    with (
        server(handle) as (url, times),
        FraudClient(ClientSettings(url=url, failures_to_open=3, open_for_s=0.5)) as client,
    ):
        causes = [client.authorize(PAYMENT).cause for _ in range(10)]
        asked = len(times)
        healthy.set()
        time.sleep(0.6)
        after = client.authorize(PAYMENT)
    assert causes == ["status_500"] * 3 + ["circuit_open"] * 7
    assert asked == 3
    assert after.decision_source == "model"


def test_refusals_do_not_open_the_circuit() -> None:
    with (
        server(lambda handler, _: answer(handler, 400, b"")) as (url, times),
        FraudClient(ClientSettings(url=url, failures_to_open=2)) as client,
    ):
        causes = {client.authorize(PAYMENT).cause for _ in range(6)}
    assert (causes, len(times)) == ({"status_400"}, 6)


def test_more_callers_than_places_fall_back_at_once() -> None:
    release = threading.Event()

    def handle(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        release.wait(5)
        answer(handler, 200, model_row())

    with (
        server(handle) as (url, _),
        FraudClient(ClientSettings(url=url, max_in_flight=1, read_timeout_s=3, deadline_s=3)) as client,
    ):
        first: list[Authorization] = []
        waiting = threading.Thread(target=lambda: first.append(client.authorize(PAYMENT)))
        waiting.start()
        time.sleep(0.2)
        began = time.monotonic()
        second = client.authorize(PAYMENT)
        seconds = time.monotonic() - began
        release.set()
        waiting.join()
    assert (second.cause, first[0].decision_source) == ("too_many_in_flight", "model")
    assert seconds < 0.2


@pytest.mark.parametrize("changes", [{"amount": float("nan")}, {"amount": "1"}, {"pan": "4111"}, {"card_id": None}])
def test_a_malformed_payment_is_reviewed_without_asking(changes: dict[str, Any]) -> None:
    with server(lambda handler, _: answer(handler, 200, model_row())) as (url, times):
        found = ask(url, PAYMENT | changes)
    assert (found.decision, found.cause, len(times)) == ("review", "invalid_transaction", 0)


def test_every_decision_is_observed() -> None:
    seen: list[Authorization] = []
    url = f"http://127.0.0.1:{free_port()}/invocations"
    with FraudClient(ClientSettings(url=url), observe=seen.append) as client:
        found = client.authorize(PAYMENT)
    assert seen == [found]


@pytest.mark.parametrize("given", [None, [1], "text", 7, {1: 2}])
def test_whatever_it_is_given_it_decides(given: Any) -> None:
    """Nor does somebody who only looks on, and fails, change that."""

    def fails(_: Authorization) -> None:
        raise ZeroDivisionError

    with FraudClient(ClientSettings(url=f"http://127.0.0.1:{free_port()}/invocations"), observe=fails) as client:
        found = client.authorize(given)
    assert (found.decision, found.decision_source, found.cause) == ("review", "fallback", "invalid_transaction")


def test_fallbacks_are_counted() -> None:
    from prometheus_client import REGISTRY

    from scoreline_fraud.client.metrics import observe_client

    labels = {"decision": "allow", "source": "fallback", "cause": "connection"}
    before = REGISTRY.get_sample_value("fraud_client_decisions_total", labels) or 0
    with FraudClient(ClientSettings(url=f"http://127.0.0.1:{free_port()}"), observe=observe_client) as client:
        client.authorize(PAYMENT)
    assert REGISTRY.get_sample_value("fraud_client_decisions_total", labels) == before + 1


def test_the_fallback_must_leave_room_for_review() -> None:
    with pytest.raises(ValueError, match="allow_up_to must be below deny_from"):
        Fallback(allow_up_to=500, deny_from=500)


def test_the_callers_process_counts_what_was_decided_and_why() -> None:
    def counted() -> float:
        labels = {"decision": "review", "source": "fallback", "cause": "invalid_transaction"}
        return REGISTRY.get_sample_value("fraud_client_decisions_total", labels) or 0.0

    before = counted()
    with FraudClient(ClientSettings(), observe=observe_client) as client:
        client.authorize({**PAYMENT, "amount": "20"})
    assert counted() == before + 1
