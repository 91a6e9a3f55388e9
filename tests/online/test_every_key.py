"""Every key of `conf/serving/*.yaml` changes something."""

import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from keys import Differs, Shown, not_shown, set_in
from online.conftest import TODAY, free_port
from scoreline.config.keys import leaves
from scoreline.errors import ScorelineError
from scoreline_fraud.client.client import FraudClient
from scoreline_fraud.server import server as serving
from scoreline_fraud.server.fetching import folder_sha256
from scoreline_fraud.server.openapi import openapi
from scoreline_fraud.server.server import Server
from scoreline_fraud.server.settings import ServingSettings, environment
from scoreline_fraud.serving import metrics
from scoreline_fraud.serving.scorer import Judged, Scorer
from scoreline_fraud.serving.shadow import Challenger
from scoreline_fraud.serving.transactions import Transaction

BANDS = [{"below": 100, "review": 0.5, "deny": 0.9}, {"review": 0.1, "deny": 0.6}]
PAYMENT = {"transaction_id": "t", "card_id": "c", "terminal_id": "m", "amount": 5.0, "occurred_at": TODAY.isoformat()}
BASE = {"model": "models:/card_fraud@champion", "rules": {"decisions": {"bands": BANDS}}}


def _environment(s: ServingSettings) -> dict[str, str]:
    return environment(s)


def _bands(s: ServingSettings) -> Any:
    bands = s.rules.decisions
    return [bands.of(amount) for amount in (10, 60, 200)]


def _loaded(s: ServingSettings, folder: Path) -> str:
    """What the server says of a model in a folder."""
    try:
        return str(Server(s.model_copy(update={"model": str(folder), "state_dir": folder.parent}), {})._fetch())
    except ScorelineError as error:
        return str(error).split(":", maxsplit=1)[0]


def _waits(s: ServingSettings) -> Any:
    """How the client posts: where to, for how long, and how long it pauses before it tries again."""
    posted: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:

        def refuse(_: Any, url: str, *, timeout: tuple[float, float], **__: Any) -> None:
            posted.append((url, timeout))
            raise requests.ConnectionError

        patch.setattr(requests.Session, "post", refuse)
        with FraudClient(s.client, jitter=lambda mean: posted.append(mean) or 0.0) as client:
            client.authorize(PAYMENT)
    return posted


def _follows(s: ServingSettings) -> bool:
    """Whether the server looks for another version by itself within a second."""
    server = Server(s, {})
    looked = threading.Event()
    server.start = lambda: None  # type: ignore[method-assign]
    server.returncode = lambda: None if not looked.wait(0.6) else 0  # type: ignore[method-assign]
    server.swap = lambda: looked.set() or False  # type: ignore[method-assign,func-returns-value]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving.signal, "signal", lambda *_: None)
        threading.Timer(1.5, lambda: setattr(server, "_stop", True)).start()
        server.run()
    return looked.is_set()


KEYS: dict[str, Differs | Shown] = {
    "model": Shown("scoreline_fraud/server/server", "online/test_command.py"),
    "model_sha256": Shown("scoreline_fraud/server/server", "online/test_every_key.py"),
    "require_digest": Shown("scoreline_fraud/server/server", "online/test_settings.py"),
    "allow": Shown("scoreline_fraud/server/server", "online/test_settings.py"),
    "tracking_uri": Differs("http://127.0.0.1:5000", _environment),
    "state_dir": Differs("elsewhere", lambda s: Server(s, {}).name),
    "challenger.model": Shown("scoreline_fraud/server/server", "online/test_settings.py"),
    "challenger.log": Shown("scoreline_fraud/server/settings", "online/test_settings.py"),
    **{
        f"server.{key}": Differs(value, _environment)
        for key, value in {
            "host": "0.0.0.0", "port": 9, "workers": 3, "timeout_s": 9, "limit_concurrency": 9, "backlog": 9,
            "keep_alive_s": 9, "graceful_stop_s": 9, "start_timeout_s": 9, "access_log": True, "log_level": "info",
        }.items()
    },
    "server.follow_alias_s": Differs(0.1, _follows),
    "rules.decisions.bands.below": Differs(50, _bands),
    "rules.decisions.bands.review": Differs(0.4, _bands),
    "rules.decisions.bands.deny": Differs(0.8, _bands),
    "rules.features.snapshot": Shown("scoreline_fraud/serving/model", "online/test_model.py"),
    "rules.features.max_age_hours": Shown("scoreline_fraud/serving/scorer", "online/test_every_key.py"),
    "rules.features.recheck_s": Shown("scoreline_fraud/serving/model", "online/test_snapshot.py"),
    "rules.limits.max_rows": Differs(9, lambda s: openapi(s.rules.limits)),
    "rules.limits.largest_amount": Shown("scoreline_fraud/serving/scorer", "online/test_every_key.py"),
    "rules.limits.max_clock_difference_s": Shown("scoreline_fraud/serving/scorer", "online/test_scorer.py"),
    "rules.metrics.port": Differs(9, _environment),
    "rules.metrics.host": Shown("scoreline_fraud/serving/model", "online/test_every_key.py"),
    "rules.shadow.model": Shown("scoreline_fraud/serving/model", "online/test_model.py"),
    "rules.shadow.log": Shown("scoreline_fraud/serving/model", "online/test_model.py"),
    "rules.shadow.queue": Shown("scoreline_fraud/serving/model", "online/test_every_key.py"),
    "rules.model_version": Shown("scoreline_fraud/serving/model", "online/test_model.py"),
    "client.url": Differs("http://127.0.0.1:9/x", _waits),
    "client.connect_timeout_s": Differs(0.1, _waits),
    "client.read_timeout_s": Differs(0.1, _waits),
    "client.deadline_s": Shown("scoreline_fraud/client/client", "online/test_client.py"),
    "client.retry_wait_s": Differs(0.1, _waits),
    "client.failures_to_open": Shown("scoreline_fraud/client/client", "online/test_client.py"),
    "client.open_for_s": Shown("scoreline_fraud/client/client", "online/test_client.py"),
    "client.max_in_flight": Shown("scoreline_fraud/client/client", "online/test_client.py"),
    "client.fallback.allow_up_to": Differs(1, lambda s: s.client.fallback.decide(5.0)),
    "client.fallback.deny_from": Differs(40, lambda s: s.client.fallback.decide(50.0)),
}  # fmt: skip


def _changed(key: str | None = None, value: Any = None) -> ServingSettings:
    tree = json.loads(json.dumps(BASE))
    if key:
        set_in(tree, key, value)
    return ServingSettings.model_validate(tree)


def test_every_key_has_its_entry() -> None:
    assert sorted(KEYS) == sorted(leaves(ServingSettings))


@pytest.mark.parametrize("key", [key for key, entry in KEYS.items() if isinstance(entry, Differs)])
def test_another_value_gives_something_else(key: str) -> None:
    entry = KEYS[key]
    assert isinstance(entry, Differs)
    assert entry.seen(_changed(key, entry.value)) != entry.seen(_changed())


def test_what_other_tests_show_is_read_where_it_is_said_and_named_in_the_test() -> None:
    assert not_shown(KEYS) == []


def test_the_server_loads_no_model_but_the_one_with_model_sha256(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("model_id: m-1")
    said = [_loaded(_changed("model_sha256", digest), folder) for digest in (folder_sha256(folder), "0" * 64)]
    assert "sha256" in said[0]
    assert said[0] != said[1]


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"features": {"max_age_hours": 11}}, "features_stale"),
        ({"limits": {"largest_amount": 19}}, "amount_above_limit"),
    ],
)
def test_limits_of_what_is_left_to_the_model(
    scorer: Callable[..., Scorer], payment: Callable[..., dict[str, Any]], rules: dict[str, Any], reason: str
) -> None:
    still = {"limits": {"max_clock_difference_s": None}}
    limits = {"limits": still["limits"] | rules.get("limits", {})}
    (before,) = scorer(still).answers([payment()])
    (after,) = scorer({**rules, **limits}).answers([payment()])
    assert reason not in before["reasons"]
    assert after["reasons"] == [reason]


def test_figures_are_told_at_the_host_of_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    port = free_port()
    metrics.serve_metrics("127.0.0.2", port, None)
    assert requests.get(f"http://127.0.0.2:{port}/metrics", timeout=5).ok
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5)


def test_a_queue_of_the_shadow_that_is_full_drops_lines(tmp_path: Path, world: Any) -> None:
    begun, go = threading.Event(), threading.Event()

    class Slow:
        def probabilities(self, features: Any) -> Any:
            begun.set()
            go.wait(10)
            return world.kernel.probabilities(features)

    outcomes: list[str] = []
    make = partial(Challenger, Slow(), version="m/2", bands=_changed().rules.decisions, log=tmp_path / "log")
    payment = Transaction(
        transaction_id="t", card_id="c", terminal_id="m", amount=5.0, occurred_at=TODAY.to_pydatetime()
    )
    answer = {"transaction_id": "t", "model_version": "m/1", "fraud_probability": 0.1, "decision": "allow"}
    judged = [Judged(payment, world.data.test_features[0], answer)]
    challenger = make(size=1, count=outcomes.append)
    challenger(judged)
    begun.wait(10)
    for _ in range(3):  # one waits, two find no room
        challenger(judged)
    go.set()
    challenger.drain()
    assert sorted(outcomes) == ["dropped", "dropped", "scored", "scored"]
