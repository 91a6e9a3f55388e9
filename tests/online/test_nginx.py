"""nginx as shipped, in front of a real server: who may ask what, and that errors give nothing away."""

import datetime
import importlib.util
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from online.conftest import Live, free_port
from online.fuzz.bodies import CANARY, bodies, may_be_allowed
from scoreline_fraud.client.client import FraudClient
from scoreline_fraud.client.settings import ClientSettings

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf/serving/nginx.conf"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.alone,
    pytest.mark.timeout(600),
    pytest.mark.skipif(NGINX is None, reason="needs nginx"),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]


@dataclass(frozen=True)
class Proxy:
    url: str
    folder: Path
    live: Live

    def post(self, body: Any, *, key: str | None = "k-1", **headers: str) -> requests.Response:
        sent = {"Content-Type": "application/json"} | ({"X-Api-Key": key} if key else {}) | headers
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        return requests.post(f"{self.url}/invocations", data=data, headers=sent, verify=self.certificate, timeout=10)

    @property
    def certificate(self) -> str:
        return str(self.folder / "tls.crt")


def certificate(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "tls.key").write_bytes(pem)


@pytest.fixture(scope="module")
def one_proxy(one_server: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    with running(folder, one_server, upstream=one_server.server.settings.server.port) as found:
        yield found


@pytest.fixture
def proxy(live: Live, one_proxy: Proxy) -> Proxy:
    """The one nginx of these tests, with the server up behind it."""
    return one_proxy


@contextmanager
def running(tmp_path: Path, live: Live, *, upstream: int) -> Iterator[Proxy]:
    port = free_port()
    certificate(tmp_path)
    (tmp_path / "api_keys.conf").write_text('"k-1" "cards";\n')
    (tmp_path / "temp").mkdir()
    text = CONF.read_text().replace("127.0.0.1:8443", f"127.0.0.1:{port}")
    text = text.replace("127.0.0.1:5001", f"127.0.0.1:{upstream}")
    (tmp_path / "nginx.conf").write_text("daemon off;\nmaster_process off;\n" + text)
    process = subprocess.Popen([NGINX or "nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
    found = Proxy(f"https://localhost:{port}", tmp_path, live)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                requests.get(f"{found.url}/ping", verify=found.certificate, timeout=1)
                break
            except requests.RequestException:
                time.sleep(0.05)
        yield found
    finally:
        process.terminate()
        process.wait(10)


def test_a_payment_goes_through_with_a_request_id(proxy: Proxy) -> None:
    response = proxy.post({"inputs": [proxy.live.payment()]})
    assert response.status_code == 200
    assert response.json()["predictions"][0]["transaction_id"] == "t-1"
    assert len(response.headers["X-Request-Id"]) == 32


def test_the_client_speaks_to_it(proxy: Proxy) -> None:
    settings = ClientSettings(url=f"{proxy.url}/invocations", connect_timeout_s=1, read_timeout_s=2, deadline_s=3)
    with FraudClient(settings, headers={"X-Api-Key": "k-1"}, verify=proxy.certificate) as client:
        good = client.authorize(proxy.live.payment())
    with FraudClient(settings, headers={"X-Api-Key": "wrong"}, verify=proxy.certificate) as client:
        stranger = client.authorize(proxy.live.payment(amount=1.0))
    assert good.decision_source == "model"
    assert (stranger.decision, stranger.cause) == ("review", "status_401")


@pytest.mark.parametrize("key", [None, "wrong", ""])
def test_without_a_key_nothing_is_scored(proxy: Proxy, key: str | None) -> None:
    assert proxy.post({"inputs": [proxy.live.payment()]}, key=key).status_code == 401


@pytest.mark.parametrize("path", ["/", "/version", "/docs", "/openapi.json", "/health", "/invocations/", "/metrics"])
def test_there_are_two_routes(proxy: Proxy, path: str) -> None:
    assert requests.get(proxy.url + path, verify=proxy.certificate, timeout=5).status_code == 404


@pytest.mark.parametrize(
    "kind", ["text/csv", "application/vnd.apache.parquet", "text/plain", "application/json; charset=latin-1"]
)
def test_only_json_is_let_in(proxy: Proxy, kind: str) -> None:
    response = proxy.post(f"amount,pan\nx,{CANARY}", **{"Content-Type": kind})
    assert response.status_code == 400
    assert CANARY not in response.text


def test_a_large_body_is_refused(proxy: Proxy) -> None:
    assert proxy.post(b'{"inputs": ["' + b"x" * 70_000 + b'"]}').status_code == 400


@pytest.mark.parametrize("body", [f'{{"inputs": [{CANARY}', f'{{"inputs": {{"pan": "{CANARY}"}}}}', "[" * 30_000])
def test_errors_are_replaced(proxy: Proxy, body: str) -> None:
    response = proxy.post(body)
    assert response.status_code in {400, 503}
    assert set(response.json()) == {"error", "request_id"}
    assert CANARY not in response.text


def test_the_log_has_the_request_id_and_no_payment(proxy: Proxy) -> None:
    response = proxy.post({"inputs": [proxy.live.payment(card_id=CANARY)]})
    time.sleep(0.1)
    lines = [json.loads(line) for line in (proxy.folder / "access.log").read_text().splitlines()]
    assert lines[-1]["id"] == response.headers["X-Request-Id"]
    assert (lines[-1]["caller"], lines[-1]["status"]) == ("cards", 200)
    assert CANARY not in (proxy.folder / "access.log").read_text()


@pytest.mark.parametrize("count", [300, pytest.param(3_000, marks=pytest.mark.slow)])
def test_malformed_bodies_never_come_back(proxy: Proxy, count: int) -> None:
    for body in bodies(proxy.live.payment, count=count, seed=count + 1):
        response = proxy.post(body)
        assert response.status_code in {200, 400, 503}, body
        assert "Traceback" not in response.text, body
        if response.status_code == 200:
            answers = response.json()["predictions"]
            decisions = {answer["decision"] for answer in answers}
            rest = [{key: value for key, value in answer.items() if key != "transaction_id"} for answer in answers]
            assert CANARY not in json.dumps(rest), body  # a well-formed transaction_id is the one thing that returns
            assert "allow" not in decisions or may_be_allowed(body), body
        else:
            assert set(response.json()) == {"error", "request_id"}, body
            assert CANARY not in response.text, body


def load_generator() -> Any:
    spec = importlib.util.spec_from_file_location("load_generator", ROOT / "benchmarks/online/load.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["load_generator"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_beyond_capacity_the_accepted_keep_their_latency(proxy: Proxy) -> None:
    """Five times as many callers as places: the rest is refused at once, and those who are let in do not notice."""
    body = json.dumps({"inputs": [proxy.live.payment()]}).encode()
    tls = ssl.create_default_context(cafile=proxy.certificate)
    load = load_generator().load

    def drive(connections: int) -> Any:
        return load(int(proxy.url.rsplit(":", 1)[1]), lambda: body, connections=connections, seconds=2,
                    host="localhost", headers="X-Api-Key: k-1\r\n", pause_s=0.1, warm_s=1.5, tls=tls)  # fmt: skip

    drive(8)
    within, beyond = drive(32), drive(160)
    assert (within.errors, beyond.errors) == (0, 0)
    assert set(within.statuses) == {200}
    assert set(beyond.statuses) == {200, 503}
    assert beyond.statuses[503] > 5 * (160 - 32)  # in two seconds, by callers who wait a tenth of one
    assert beyond.percentile(0.95, 200) < 2 * within.percentile(0.95, 200)
    assert beyond.percentile(0.95, 503) < within.percentile(0.95, 200)


def test_a_server_that_is_away_is_a_503_at_once(live: Live, tmp_path: Path) -> None:
    with running(tmp_path, live, upstream=free_port()) as proxy:
        began = time.monotonic()
        response = proxy.post({"inputs": [live.payment()]})
    assert (response.status_code, response.json()["error"]) == (503, "unavailable")
    assert time.monotonic() - began < 1
