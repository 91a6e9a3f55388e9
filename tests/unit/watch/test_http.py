"""What an application is answered: by status and sentence, and 202 for nothing that is not on disk."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature
from starlette.applications import Starlette

from asgi import Answer, asked
from builders import settings
from scoreline.errors import ConfigurationError
from scoreline.watch.http import application, serving
from scoreline.watch.journal import Ask, Journal
from scoreline.watch.supervisor import Supervisor

TOKEN, SECRET, NOW = "0123456789abcdef0123", "a webhook's secret", 1_800_000_000.0
TRIGGERS = [
    {"name": "app", "signal": True, "steps": ["run"], "debounce": "3s"},
    {"name": "registry", "webhook": SECRET, "steps": ["run"]},
    {"name": "nightly", "at": "30 2 * * *", "steps": ["run"]},
]


@dataclass
class Served:
    routes: Starlette
    journal: Journal
    woken: list[bool] = field(default_factory=list)
    now: float = NOW

    def post(self, name: str, said: Any = None, **headers: str) -> Answer:
        body = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
        return asked(self.routes, name, method="POST", body=body, **headers)

    def taken(self) -> list[Ask]:
        chains = iter(lambda: self.journal.take(["app", "registry"], now=NOW + 9), None)
        return [chain.ask for chain in chains]


def made(root: Path, *, token: str | None = None, **changes: Any) -> Served:
    http = {"port": 0, **({"token": token} if token else {})}
    said = settings(root, watch={"triggers": TRIGGERS, "http": http}, **changes)
    journal = Journal(root / "watch.db")
    found = Served(Starlette(), journal)
    supervisor = Supervisor(said, journal, log=print, clock=lambda: found.now)
    assert said.watch is not None
    assert said.watch.http is not None
    found.routes = application(said, said.watch.http, journal, supervisor, lambda: found.woken.append(True))
    return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    found = made(tmp_path)
    yield found
    found.journal.close()


def test_a_signal_is_accepted_when_it_is_on_disk(served: Served) -> None:
    answer = served.post("/signals/app", {"users": [42, "43"], "everyone": True})

    said = json.loads(answer.text)
    start = served.journal.get(said["id"])
    assert (answer.status, answer.headers["location"], served.woken) == (202, f"/signals/{said['id']}", [True])
    assert start is not None
    assert (start.state, start.trigger, start.accepted_at) == ("queued", "app", NOW)
    assert served.journal.next_due(["app"]) == NOW + 3  # its debounce
    assert served.taken() == [Ask((42, 43), everyone=True)]
    shown = json.loads(asked(served.routes, answer.headers["location"]).text)
    assert (shown["state"], shown["signal"], shown["accepted_at"]) == (
        "running",
        "app",
        "2027-01-15T08:00:00.000+00:00",
    )


def test_a_signal_without_users_is_for_all(served: Served) -> None:
    assert served.post("/signals/app").status == 202
    assert served.taken() == [Ask()]


def test_a_repeated_request_is_the_same_signal(served: Served) -> None:
    answers = [served.post("/signals/app", {"users": [1]}, idempotency_key="k") for _ in range(2)]
    other = served.post("/signals/app", {"users": [2]}, idempotency_key="k")

    assert answers[0].text == answers[1].text
    assert (other.status, "another request" in other.text) == (422, True)
    assert served.taken() == [Ask((1,))]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[42]", "expected an object with users and everyone"),
        (b'{"user": [42]}', "[42, 43]}; found user"),
        (b'{"users": []}', "at least one id"),
        (b'{"users": 42}', "at least one id"),
        (b'{"users": ["x"]}', "whole numbers (keys.user_id: long), found 'x'"),
        (b'{"users": [true]}', "a number or a text, found true"),
        (b'{"users": [1.5]}', "a number or a text, found 1.5"),
        (b'{"everyone": 1}', "true or false"),
        (b"\xff", "is no JSON"),
    ],
)
def test_what_is_no_signal_is_told_why_and_starts_nothing(served: Served, body: bytes, said: str) -> None:
    answer = served.post("/signals/app", body)

    assert (answer.status, served.taken()) == (422, [])
    assert said in json.loads(answer.text)["error"]


def test_an_id_of_text_is_no_number(tmp_path: Path) -> None:
    served = made(tmp_path, keys={"user_id": "string"})

    assert served.post("/signals/app", {"users": [42]}).status == 422
    assert served.post("/signals/app", {"users": ["42"]}).status == 202
    assert served.taken() == [Ask(("42",))]
    served.journal.close()


def test_a_body_that_is_too_large_is_not_read_to_its_end(served: Served) -> None:
    assert served.post("/signals/app", b" " * (1 << 20) + b"{}").status == 413


def test_names_that_are_no_signals_are_not_found(served: Served) -> None:
    for name in ("/signals/other", "/signals/nightly", "/signals/registry"):
        answer = served.post(name)
        assert (answer.status, json.loads(answer.text)) == (
            404,
            {"error": "there is no signal of this name; there is app"},
        )
    assert asked(served.routes, "/signals/0000").status == 404


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/signal/app", 404), ("DELETE", "/signals/app", 405)])
def test_an_address_that_there_is_not_is_answered_with_those_that_there_are(
    served: Served, method: str, path: str, status: int
) -> None:
    answer = asked(served.routes, path, method=method)

    assert answer.status == status
    assert json.loads(answer.text)["error"] == (
        f"there is no {method} of this address; expected POST /signals/NAME, GET /signals/ID, POST /webhooks/NAME, "
        "GET /healthz or GET /metrics"
    )


def test_without_the_token_nobody_is_heard(tmp_path: Path) -> None:
    served = made(tmp_path, token=TOKEN)

    for said in ({}, {"authorization": "Bearer x"}, {"authorization": f"Basic {TOKEN}"}, {"authorization": TOKEN}):
        for answer in (served.post("/signals/app", **said), asked(served.routes, "/metrics", **said)):
            assert (answer.status, TOKEN in answer.text) == (401, False)
    assert served.post("/signals/app", authorization=f"Bearer {TOKEN}", host="watch.example").status == 202
    health = asked(served.routes, "/healthz", host="watch.example")  # who looks whether it lives has no token
    assert (health.status, json.loads(health.text)) == (200, {"state": "well"})
    served.journal.close()


def test_a_page_that_leads_a_browser_here_starts_nothing(served: Served) -> None:
    assert served.post("/signals/app", host="evil.example").status == 400
    for site in ("http://evil.example", "http://127.0.0.1:9999", "null"):
        assert served.post("/signals/app", host="127.0.0.1:8099", origin=site).status == 403
    assert served.post("/signals/app", host="127.0.0.1:8099", sec_fetch_site="cross-site").status == 403
    assert served.taken() == []


def signed(body: bytes, *, secret: str = SECRET, delivery: str = "d1", at: float = NOW) -> dict[str, str]:
    signature = _generate_hmac_signature(secret, delivery, str(int(at)), body.decode())
    return {"x_mlflow_signature": signature, "x_mlflow_delivery_id": delivery, "x_mlflow_timestamp": str(int(at))}


def test_mlflows_webhook_starts_a_chain_once_a_delivery(served: Served) -> None:
    body = b'{"entity": "model_version_alias", "action": "created"}'

    answers = [served.post("/webhooks/registry", body, **signed(body)) for _ in range(2)]

    assert [answer.status for answer in answers] == [202, 202]
    assert served.taken() == [Ask()]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(b"{}", secret="another"),
        signed(b'{"a": 1}'),
        signed(b"{}", at=NOW - 301),
        {**signed(b"{}"), "x_mlflow_delivery_id": "d2"},
    ],
    ids=["unsigned", "another secret", "another body", "old", "another delivery"],
)
def test_a_delivery_that_mlflow_has_not_signed_starts_nothing(served: Served, headers: dict[str, str]) -> None:
    assert served.post("/webhooks/registry", b"{}", **headers).status == 401
    assert served.taken() == []


def test_metrics_are_prometheus_text(served: Served) -> None:
    served.post("/signals/app")

    lines = asked(served.routes, "/metrics").text.splitlines()

    assert 'scoreline_watch_waiting{pipeline="test",trigger="app"} 1.0' in lines
    assert 'scoreline_watch_waiting{pipeline="test",trigger="nightly"} 0.0' in lines


def test_who_is_stuck_is_not_well(served: Served) -> None:
    assert asked(served.routes, "/healthz").status == 200  # it has just begun

    served.now += 61  # and nobody has worked since
    answer = asked(served.routes, "/healthz")

    assert (answer.status, json.loads(answer.text)["state"]) == (503, "stuck")


def test_it_answers_on_its_host_and_port_until_it_ends(tmp_path: Path) -> None:
    served = made(tmp_path)
    http = settings(tmp_path, watch={"triggers": TRIGGERS, "http": {"host": "127.0.0.1", "port": 0}}).watch.http  # type: ignore[union-attr]
    assert http is not None

    with serving(served.routes, http) as address:
        with urlopen(Request(f"{address}/signals/app", data=b"{}"), timeout=5) as answer:
            assert answer.status == 202
        taken = http.model_copy(update={"port": int(address.rsplit(":", 1)[1])})
        with (
            pytest.raises(ConfigurationError, match=r"nobody can listen on 127\.0\.0\.1, port"),
            serving(served.routes, taken),
        ):
            pass
    with pytest.raises((HTTPError, OSError)):
        urlopen(f"{address}/healthz", timeout=1)
    served.journal.close()
