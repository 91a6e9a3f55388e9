"""What a command leaves for Prometheus: of each kind its own, in a file or at a Pushgateway, whoever answers there."""

import base64
import json
import logging
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from builders import NOW, settings
from embedded import HOUR
from scoreline.config.loading import load_settings
from scoreline.config.settings import Settings
from scoreline.errors import AuditRefused, ConfigurationError, RunInProgress, ScorelineError
from scoreline.pipeline.audit import Gate
from scoreline.pipeline.run import run
from scoreline.runs import metrics
from scoreline.runs.keeping import kept
from scoreline.runs.metrics import METRICS, leave_metrics
from scoreline.runs.record import Record
from scoreline.tables.names import KINDS, STATES, Kind

pytest.importorskip("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

Series = dict[tuple[str, ...], float]
HIDDEN = "hu5h/and more"
GATES = [
    Gate("users scored", 58, "at least 1", passed=True),
    Gate("seen items recommended", 0, "0", passed=True, bound=0),
    Gate("overlap with the lists replaced", 0.2, "at least 0.5", passed=False, warns=True, bound=0.5, least=True),
    Gate("overlap with the lists replaced", 0.2, "at most 1", passed=True, bound=1),
]
DIES = """
import json, os, signal, sys
from datetime import UTC, datetime
from scoreline.config.settings import Settings
from scoreline.runs.keeping import kept
with kept(Settings.model_validate(json.loads(sys.argv[1])), "run", now=datetime(2026, 7, 1, 9, tzinfo=UTC)):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def series(text: str) -> Series:
    """All of our samples, by metric, pipeline, kind of command and what other labels there are."""
    found = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            more = [one.labels[key] for key in sorted(one.labels) if key in ("bound", "figure", "state")]
            if one.name.startswith("scoreline_"):
                name, labels = one.name.removeprefix("scoreline_"), one.labels
                found[name, labels["pipeline"], labels.get("command", ""), *more] = one.value
    return found


@pytest.fixture(scope="module")
def pushgateway() -> Iterator[str]:
    """Debian's Pushgateway, as it is."""
    program = shutil.which("prometheus-pushgateway") or shutil.which("pushgateway")
    if program is None:
        pytest.skip("needs a Pushgateway: apt-get install prometheus-pushgateway")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with subprocess.Popen([program, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL) as server:
        for _ in range(100):
            with suppress(OSError), urllib.request.urlopen(f"http://{address}/-/ready") as answer:
                assert answer.status == 200
                break
            time.sleep(0.05)
        yield f"http://{address}"
        server.send_signal(signal.SIGKILL)


@pytest.fixture(params=["textfile", "pushgateway"])
def left(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, str], Callable[[], Series]]:
    """A `metrics` section, and how what has been left there is read."""
    if request.param == "textfile":
        file = tmp_path / "scoreline.prom"
        return {"textfile": str(file)}, lambda: series(file.read_text())
    address = request.getfixturevalue("pushgateway")
    wipe = urllib.request.Request(f"{address}/api/v1/admin/wipe", method="PUT")
    with suppress(OSError), urllib.request.urlopen(wipe):
        pass

    def read() -> Series:
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            found = series(answer.read().decode())
        return {key: value for key, value in found.items() if not key[0].startswith("push_")}

    return {"pushgateway": address}, read


def leaving(root: Path, to: dict[str, str], name: str = "test") -> Settings:
    return settings(root, name=name, engine="embedded", metrics=to)


def ended(made: Settings, kind: Kind = "run", *, now: datetime = NOW, state: Any = None, **said: object) -> None:
    """A command that does nothing, and says so."""
    with suppress(ScorelineError), kept(made, kind, now=now) as record:
        record.say(**said)
        record.state = state
        if state in ("failed", "refused"):
            raise AuditRefused("it is a test")


def without_durations(found: Series) -> Series:
    """The samples, and of the states those that are."""
    return {
        key: value
        for key, value in found.items()
        if key[0] != "last_duration_seconds" and (value or key[0] != "last_state")
    }


def test_a_run_leaves_its_figures(left: Any, tmp_path: Path) -> None:
    to, read = left
    ended(leaving(tmp_path, to), state="published", wanted=60, scored=58, failed=2, limits=[asdict(g) for g in GATES])
    found, seen, overlap = read(), "seen items recommended", "overlap with the lists replaced"
    assert without_durations(found) == {
        ("last_attempt_timestamp_seconds", "test", "run"): NOW.timestamp(),
        ("last_success_timestamp_seconds", "test", "run"): NOW.timestamp(),
        ("last_state", "test", "run", "published"): 1,
        ("users_due", "test", "run"): 60,
        ("users_scored", "test", "run"): 58,
        ("users_failed", "test", "run"): 2,
        ("audit_figure", "test", "run", "users scored"): 58,
        ("audit_figure", "test", "run", seen): 0,
        ("audit_figure", "test", "run", overlap): 0.2,
        ("audit_broken", "test", "run", "users scored"): 0,
        ("audit_broken", "test", "run", seen): 0,
        ("audit_broken", "test", "run", overlap): 1,
        ("audit_limit", "test", "run", "max", seen): 0,
        ("audit_limit", "test", "run", "min", overlap): 0.5,
        ("audit_limit", "test", "run", "max", overlap): 1,
    }
    assert 0 < found["last_duration_seconds", "test", "run"] < 60
    assert {key[3] for key in found if key[0] == "last_state"} == set(STATES)


def test_what_another_command_held_off_leaves_nothing(left: Any, tmp_path: Path) -> None:
    to, read = left
    made = leaving(tmp_path, to)
    ended(made, state="published")
    before = read()
    with pytest.raises(RunInProgress), kept(made, "run", now=NOW + HOUR):
        raise RunInProgress("another run works")
    assert read() == before


def test_what_a_command_has_no_figure_for_stays(left: Any, tmp_path: Path) -> None:
    """Of another kind, of another pipeline, and of its own kind before."""
    to, read = left
    made = leaving(tmp_path / "a", to)
    ended(made, state="published", wanted=60, scored=58, failed=2, limits=[asdict(g) for g in GATES[:1]])
    ended(leaving(tmp_path / "b", to, name="other"), state="nothing_due", now=NOW - HOUR)
    before = without_durations(read())
    ended(made, "vacuum", now=NOW + HOUR)
    ended(made, state="refused", now=NOW + 2 * HOUR)
    after = without_durations(read())
    at = {hours: (NOW + hours * HOUR).timestamp() for hours in (1, 2)}
    assert before["users_due", "other", "run"] == 0
    assert {key: value for key, value in after.items() if before.get(key) != value} == {
        ("last_attempt_timestamp_seconds", "test", "vacuum"): at[1],
        ("last_success_timestamp_seconds", "test", "vacuum"): at[1],
        ("last_state", "test", "vacuum", "done"): 1,
        ("last_attempt_timestamp_seconds", "test", "run"): at[2],
        ("last_state", "test", "run", "refused"): 1,
    }
    assert before.keys() - after.keys() == {("last_state", "test", "run", "published")}


def test_an_audit_replaces_the_one_before_as_a_whole(left: Any, tmp_path: Path) -> None:
    to, read = left
    for gates in (GATES, GATES[:1]):
        ended(leaving(tmp_path, to), limits=[asdict(gate) for gate in gates])
    assert {key[3:] for key in read() if key[0] == "audit_figure"} == {("users scored",)}


def test_a_run_says_how_fresh_the_rows_are_and_every_metric_there_is(ran: Any, left: Any) -> None:
    to, read = left
    asked = {"metrics": to, "freshness": {"max_age": "26h", "share": 0.9}}
    run(ran(now=NOW + HOUR, **asked), users=range(1, 31), full_refresh=True)
    found = {key: value for key, value in read().items() if key[2] == ""}
    assert found == {
        ("fresh_users_ratio", "test", ""): 1,
        ("promised_users_ratio", "test", ""): 0.9,
        ("oldest_row_timestamp_seconds", "test", ""): NOW.timestamp(),
        ("fresh_until_timestamp_seconds", "test", ""): (NOW + 26 * HOUR).timestamp(),
    }
    assert {f"scoreline_{key[0]}" for key in read()} == set(METRICS)
    run(ran(now=NOW + 2 * HOUR, **asked))
    found = read()
    assert found["fresh_until_timestamp_seconds", "test", ""] == (NOW + 28 * HOUR).timestamp()
    assert found["oldest_row_timestamp_seconds", "test", ""] == (NOW + 2 * HOUR).timestamp()


def test_promtool_finds_nothing_to_say_of_the_file(ran: Any, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool: apt-get install prometheus")
    file = tmp_path / "scoreline.prom"
    run(ran(metrics={"textfile": str(file)}, freshness={"max_age": "26h"}), full_refresh=True)
    checked = subprocess.run([promtool, "check", "metrics"], input=file.read_bytes(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_what_was_killed_is_left_by_the_next_command(tmp_path: Path) -> None:
    file = tmp_path / "scoreline.prom"
    made = leaving(tmp_path, {"textfile": str(file)})
    said = json.dumps({**made.model_dump(mode="json", exclude_unset=True), "metrics": {"textfile": str(file)}})
    assert subprocess.run([sys.executable, "-c", DIES, said], check=False).returncode == -signal.SIGKILL
    ended(made, "vacuum")
    assert {key: value for key, value in without_durations(series(file.read_text())).items() if key[2] == "run"} == {
        ("last_attempt_timestamp_seconds", "test", "run"): (NOW + 6 * HOUR).timestamp(),
        ("last_state", "test", "run", "interrupted"): 1,
    }


def test_of_commands_at_once_none_is_lost_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "scoreline.prom"
    made = leaving(tmp_path, {"textfile": str(file)})
    with ThreadPoolExecutor(len(KINDS)) as threads:
        list(threads.map(lambda kind: leave_metrics(made, Record(kind, NOW), None), KINDS * 3))
    assert {key[2] for key in series(file.read_text())} == set(KINDS)
    assert [path.name for path in tmp_path.iterdir()] == ["scoreline.prom"]


def test_a_file_that_somebody_has_spoilt_is_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "scoreline.prom"
    file.write_text('scoreline_users_due{pipeline="test" 7\n')
    ended(leaving(tmp_path, {"textfile": str(file)}), "vacuum")
    assert {key[2] for key in series(file.read_text())} == {"vacuum"}


@pytest.mark.parametrize("status", [500, 401, 0, None])
def test_who_does_not_take_them_costs_a_warning(
    status: int | None,
    answering: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And no secret stands in it: not of a server that fails, refuses, hangs, or is not there."""
    address, asked, says = answering
    monkeypatch.setattr(metrics, "_PATIENCE", 0.3)
    says["status"] = status
    to = f"http://us3r:{quote(HIDDEN, safe='')}@{'127.0.0.1:1' if status is None else address}"
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), kept(leaving(tmp_path, {"pushgateway": to}), "run", now=NOW):
        pass
    assert time.monotonic() - began < 5
    (said,) = caplog.messages
    why = {500: "HTTP Error 500", 401: "HTTP Error 401", 0: "timed out", None: "Connection refused"}[status]
    assert said.startswith("metrics.pushgateway has not taken the figures of this run: ")
    assert why in said
    assert not any(word in said for word in ("us3r", "hu5h", "more"))
    if status is not None:
        ((path, headers, _),) = asked
        assert path == "/metrics/job/scoreline/command/run/pipeline/test"
        assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode() == f"us3r:{HIDDEN}"


def test_a_folder_that_is_not_there_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ended(leaving(tmp_path, {"textfile": str(tmp_path / "nowhere" / "scoreline.prom")}), "vacuum")
    assert caplog.messages[0].startswith("metrics.textfile was not written after this vacuum: [Errno 2]")


def test_an_address_that_is_none_is_refused_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "films.yaml"
    said = settings(tmp_path).model_dump(mode="json", exclude_unset=True)
    file.write_text(yaml.safe_dump(said | {"metrics": {"pushgateway": "http://us3r:${PUSH_PASSWORD}@host:9091"}}))
    for password in ("hu5h/more", "12/more", "12?more", "12#more"):
        monkeypatch.setenv("PUSH_PASSWORD", password)
        with pytest.raises(ConfigurationError, match=r"metrics.pushgateway: expected http\(s\)://") as refused:
            load_settings(file)
        assert password not in str(refused.value)
    monkeypatch.setenv("PUSH_PASSWORD", "hu5h%2Fmore")
    assert "hu5h" not in repr(load_settings(file))
    file.write_text(yaml.safe_dump(said | {"metrics": {}}))
    with pytest.raises(ConfigurationError, match="metrics: give pushgateway"):
        load_settings(file)
