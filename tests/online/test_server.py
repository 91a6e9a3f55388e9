"""A real server: what a malformed request gets, and what happens when things go away."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from online.conftest import Live, Registry, World, free_port, serving
from scoreline.errors import RunFailed
from scoreline_fraud.client.client import FraudClient
from scoreline_fraud.client.settings import ClientSettings
from scoreline_fraud.server.server import _group_lives
from scoreline_fraud.server.settings import env_file
from scoreline_fraud.serving.features import CARD_COLUMNS, TERMINAL_COLUMNS
from scoreline_fraud.serving.rules import MetricsRules
from scoreline_fraud.serving.snapshot import publish, write_snapshot

pytestmark = [
    pytest.mark.alone,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # mlflow's own queries
]
JSON = {"Content-Type": "application/json"}
CARD_NUMBER = "4111111111111111"


def post(live: Live, body: bytes | str, headers: dict[str, str] | None = None) -> requests.Response:
    return requests.post(live.url, data=body, headers=JSON if headers is None else headers, timeout=10)


def judge(live: Live, **changes: Any) -> dict[str, Any]:
    response = post(live, json.dumps({"inputs": [live.payment(**changes)]}))
    assert response.status_code == 200
    (answer,) = response.json()["predictions"]
    return dict(answer)


def test_a_payment_is_judged(live: Live) -> None:
    answer = judge(live)
    assert answer["decision"] in {"allow", "review", "deny"}
    assert 0 <= answer["fraud_probability"] <= 1
    assert answer["model_version"].startswith("card_fraud/")


# Every row of the table of silent "allow"s that MLflow's own input handling gives (see docs/online.md).
@pytest.mark.parametrize(
    "changes",
    [
        '"amount": null',
        '"amount": NaN',
        '"amount": 1, "pan": "4111111111111111"',
        '"amount": "12.5"',
        '"amount": 20, "card_count_24h": 3.7',
        '"amount": 20, "occurred_at": "2026-03-10T99:00:00Z"',
        '"amount": -5',
        '"amount": 20, "card_count_24h": 1' + "0" * 30,
        '"amount": Infinity',
        '"amount": 1e999',
        '"amount": 1' + "0" * 400,
        '"amount": true',
        '"amount": [20]',
        '"amount": {"value": 20}',
    ],
)
def test_what_mlflow_would_allow_in_silence_is_reviewed(live: Live, changes: str) -> None:
    rest = json.dumps({key: value for key, value in live.payment().items() if key != "amount"})[1:]
    response = post(live, '{"inputs": [{' + changes + ", " + rest.replace('"occurred_at"', '"occurred_at"', 1) + "]}")
    if '"occurred_at": "2026-03-10T99' in changes:  # the later of two equal keys wins, so leave the good one out
        response = post(live, json.dumps({"inputs": [live.payment(occurred_at="2026-03-10T99:00:00Z")]}))
    assert response.status_code == 200
    (answer,) = response.json()["predictions"]
    assert answer["decision"] == "review"
    assert answer["reasons"][0].startswith("invalid:")
    assert CARD_NUMBER not in response.text


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"inputs": [', JSON),
        (b"\xff\xfe", JSON),
        (b"[]", JSON),
        (b"{}", JSON),
        (b'{"inputs": {}}', JSON),
        (b'{"inputs": 5}', JSON),
        (b'{"inputs": null}', JSON),
        (b'{"instances": [{"amount": 1}]}', JSON),
        (b'{"dataframe_records": [{"amount": 1}]}', JSON),
        (b'{"dataframe_split": {"columns": ["amount"], "data": [[1]]}}', JSON),
        (b'{"messages": [{"role": "user", "content": "allow"}]}', JSON),
        (b"[" * 100_000, JSON),
        (b'{"inputs": [{"amount": ' + b"9" * 5000 + b"}]}", JSON),
        (b'{"inputs": []}', {}),
        (b'{"inputs": []}', {"Content-Type": "text/plain"}),
        (b"PAR1garbage", {"Content-Type": "application/vnd.apache.parquet"}),
    ],
)
def test_what_is_no_request_is_refused_without_a_stack_trace(live: Live, body: bytes, headers: dict[str, str]) -> None:
    response = post(live, body, headers)
    assert response.status_code >= 400
    if "parquet" not in headers.get("Content-Type", ""):  # MLflow's CSV and Parquet readers do; nginx refuses both
        assert "Traceback" not in response.text
    assert '"allow"' not in response.text


def test_rows_of_a_csv_are_never_allowed(live: Live) -> None:
    response = post(live, "amount,card_id\n1,c1\n2,c2\n", {"Content-Type": "text/csv"})
    assert '"allow"' not in response.text


def test_a_list_of_anything_is_answered_row_by_row(live: Live) -> None:
    response = post(live, json.dumps({"inputs": [None, 1, "x", [], {}, live.payment(transaction_id="good")]}))
    answers = response.json()["predictions"]
    assert [answer["transaction_id"] for answer in answers] == [None] * 5 + ["good"]
    assert [answer["decision"] for answer in answers[:5]] == ["review"] * 5


def test_the_client_understands_the_server(live: Live) -> None:
    with FraudClient(ClientSettings(url=live.url)) as client:
        found = client.authorize(live.payment())
    assert found.decision_source == "model"


def test_mlflow_models_serve_with_the_env_file_answers_the_same(live: Live, tmp_path: Path) -> None:
    rules = live.server.settings.rules.model_copy(update={"metrics": MetricsRules()})
    server = live.server.settings.server.model_copy(update={"port": free_port(), "workers": 1})
    settings = live.server.settings.model_copy(update={"server": server, "rules": rules})
    (tmp_path / "fraud.env").write_text(env_file(settings))
    command = ["mlflow", "--env-file", str(tmp_path / "fraud.env"), "models", "serve", "--env-manager", "local"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "-m", settings.model],
        env={**live.server.environ, "PATH": path},
        cwd=tmp_path,
        start_new_session=True,
    )
    body = json.dumps({"inputs": [live.payment(), {}]})
    try:
        plain = dataclasses.replace(live, url=f"http://{server.host}:{server.port}/invocations")
        deadline = time.monotonic() + 240
        while True:
            try:
                found = post(plain, body)
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert (found.status_code, found.json()) == (200, post(live, body).json())


def test_prometheus_finds_the_figures_of_all_workers(live: Live) -> None:
    def scrape() -> dict[str, float]:
        port = live.server.settings.rules.metrics.port
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    before = scrape()
    for _ in range(30):  # each on a connection of its own, so that both workers get some
        judge(live, card_id="nobody")
    after = scrape()

    def grew(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grew("fraud_requests_total") == 30
    assert grew('fraud_decisions_total{decision="review"}') == 30
    assert grew('fraud_reasons_total{reason="unknown_card"}') == 30
    assert grew("fraud_model_seconds_count") == 30
    assert 0 <= after["fraud_feature_age_seconds"] < 2 * 86_400


def test_features_that_go_missing_or_old_are_reviews_and_come_back(live: Live) -> None:
    good = live.snapshot.resolve()
    payment, long_ago = live.payment(), datetime.now(UTC) - timedelta(days=3)
    old = write_snapshot(
        good.with_name("old.sqlite"),
        as_of=long_ago,
        cards=[(payment["card_id"], [1.0] * len(CARD_COLUMNS))],
        terminals=[(payment["terminal_id"], [0.0] * len(TERMINAL_COLUMNS))],
    )
    found = {}
    for name, action in (
        ("missing", live.snapshot.unlink),
        ("old", lambda: publish(old, live.snapshot)),
        ("back", lambda: publish(good, live.snapshot)),
    ):
        action()
        for _ in range(10):  # each on a connection of its own: both workers have seen it by then
            time.sleep(0.05)
            found[name] = judge(live)
    assert (found["missing"]["decision"], found["missing"]["reasons"]) == ("review", ["features_missing"])
    assert (found["old"]["decision"], found["old"]["reasons"]) == ("review", ["features_stale"])
    assert found["old"]["features_as_of"] == long_ago.isoformat()
    assert found["back"]["fraud_probability"] is not None


def test_a_hung_server_is_decided_without_in_time_and_asked_again_when_it_wakes(live: Live) -> None:
    group = live.server._process.pid
    settings = ClientSettings(url=live.url, read_timeout_s=0.3, deadline_s=0.6, failures_to_open=100)
    with FraudClient(settings) as client:
        os.killpg(group, signal.SIGSTOP)
        try:
            began = time.monotonic()
            hung = [client.authorize(live.payment(amount=amount)) for amount in (10.0, 100.0, 1000.0)]
            seconds = time.monotonic() - began
        finally:
            os.killpg(group, signal.SIGCONT)
        time.sleep(1)
        awake = client.authorize(live.payment())
    assert [found.decision for found in hung] == ["allow", "review", "deny"]
    assert {found.decision_source for found in hung} == {"fallback"}
    assert seconds < 3 * 0.6 + 0.5
    assert awake.decision_source == "model"


class Traffic:
    """Payments without a pause, and what came back."""

    def __init__(self, live: Live) -> None:
        self.live, self.versions, self.failures = live, Counter[str](), list[str]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(4)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        session = requests.Session()
        while not self._stop.is_set():
            try:
                # A kept-alive connection that is just being closed fails on any server; each request opens its own.
                response = session.post(
                    self.live.url, json={"inputs": [self.live.payment()]}, timeout=10, headers={"Connection": "close"}
                )
                response.raise_for_status()
                self.versions[response.json()["predictions"][0]["model_version"]] += 1
            except requests.RequestException as error:
                self.failures.append(repr(error))
            time.sleep(0.01)


def test_a_new_version_takes_over_without_a_failed_request(live: Live, registry: Registry) -> None:
    before = judge(live)["model_version"]
    with Traffic(live) as traffic:
        version = registry.again()
        assert live.server.swap()
        wanted, deadline = f"card_fraud/{version}", time.monotonic() + 240
        while time.monotonic() < deadline:
            old = sum(traffic.versions.values()) - traffic.versions[wanted]
            time.sleep(1)
            if traffic.versions[wanted] and sum(traffic.versions.values()) - traffic.versions[wanted] == old:
                break
    assert traffic.failures == []
    assert traffic.versions[wanted] > 0
    assert traffic.versions[before] > 0
    assert not live.server.swap()


def test_a_version_that_does_not_load_changes_nothing(live: Live, registry: Registry) -> None:
    before = live.server.serving
    registry.again()
    fetched = live.server._fetch()
    (fetched.folder / "artifacts" / "kernel" / "contract.json").write_text("{}")
    with pytest.raises(RunFailed, match="so the old version goes on"):
        live.server.swap()
    assert live.server.serving == before
    assert judge(live)["model_version"] == before.version


def test_a_killed_worker_is_replaced_and_the_client_decides_meanwhile(live: Live) -> None:
    parent = live.server._process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    workers = [int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    with FraudClient(ClientSettings(url=live.url)) as client:
        os.kill(workers[0], signal.SIGKILL)
        decisions = [client.authorize(live.payment()) for _ in range(20)]
    assert len(workers) == 2
    assert all(found.decision in {"allow", "review", "deny"} for found in decisions)


def test_stop_finishes_what_was_begun_and_leaves_no_process(live: Live) -> None:
    group = live.server._process.pid
    body = json.dumps({"inputs": [live.payment()]}).encode()
    host, port = "127.0.0.1", live.server.settings.server.port
    with socket.create_connection((host, port)) as slow:
        slow.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        time.sleep(0.3)
        stopping = threading.Thread(target=live.server.stop)
        stopping.start()
        time.sleep(1)
        slow.sendall(body[10:])
        answer = slow.recv(65_536)
    stopping.join()
    with FraudClient(ClientSettings(url=live.url)) as client:
        found = client.authorize(live.payment(amount=20.0))
    assert answer.startswith(b"HTTP/1.1 200")
    assert (found.decision, found.decision_source, found.flagged) == ("allow", "fallback", True)
    assert not _group_lives(group)


@pytest.mark.slow
def test_excess_requests_are_refused_at_once(world: World, registry: Registry, tmp_path: Path) -> None:
    with serving(world, registry, tmp_path, workers=1, limit_concurrency=4) as small:
        port = small.server.settings.server.port
        open_ones = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        time.sleep(0.3)
        began = time.monotonic()
        response = post(small, json.dumps({"inputs": [small.payment()]}))
        seconds = time.monotonic() - began
        for connection in open_ones:
            connection.close()
        time.sleep(0.3)
        after = post(small, json.dumps({"inputs": [small.payment()]}))
    assert (response.status_code, after.status_code) == (503, 200)
    assert seconds < 1
