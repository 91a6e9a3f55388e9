"""What happens to `scoreline watch`: disks, databases, files and clients that fail, signals, and a thousand chains."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyspark.sql import SparkSession

from builders import write_events
from disks import mounted
from faults.poison import save
from faults.tally import Tally
from integration.conftest import Registry, copied, events_of
from integration.databases.server import free_port
from scoreline.config.loading import load_settings
from scoreline.operations.status import Status, status
from scoreline.runs.usage import held_bytes
from scoreline.tables.reading import open_readers
from watched import APP, INCOMING, Watch, configured, exported, made_by, same_as_undisturbed, watching

pytest.importorskip("pysail")
pytest.importorskip("cronsim")
FAULT = "accidents of watch"
TOKEN = "0123456789abcdef0123456789"
CHAINS = int(os.environ.get("SCORELINE_FAULT_ROUNDS", "100")) * 10


def test_a_full_disk_is_said_to_who_asks_and_is_waited_for(
    registry: Registry, ingested: Path, tmp_path: Path, tally: Tally
) -> None:
    """Everything is on it: tables, journal, what it prints."""
    with mounted(tmp_path / "disk", "size=16m") as disk:
        config = configured(disk, registry, APP)
        copied(ingested, disk / "tables")
        with watching(config) as watch:
            watch.answered(watch.asked(1))
            late = watch.asked(everyone=True)
            watch.until(lambda: watch.ask(f"/signals/{late}")[1]["state"] == "running")
            with pytest.raises(OSError, match="No space"):
                filled(disk / "ballast")
            status, said = watch.ask("/signals/app", {"users": [2]})
            assert (status, "database or disk is full" in said["error"]) == (503, True)
            assert watch.ask(f"/signals/{late}")[0] == 200
            time.sleep(3)  # the run that works now fails, and that cannot be written either
            assert watch.ask("/signals/app", {"users": [2]})[0] == 503
            (disk / "ballast").unlink()
            assert watch.answered(late)["state"] == "published"
            assert watch.answered(watch.asked(2))["state"] == "nothing_due"
            assert "Traceback" not in watch.errors.read_text()
            assert watch.end() == 0
    tally(FAULT, "full disk")


def filled(file: Path) -> None:
    """Write until there is no room."""
    with file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


@contextmanager
def away(database: Path) -> Iterator[None]:
    """Inside, nobody gets to its folder."""
    folder = database.parent
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    folder.touch()  # or it would be made anew
    yield
    folder.unlink()
    elsewhere.rename(folder)


def test_a_database_that_is_away_is_tried_again_and_told_of_only_when_it_is_given_up(
    registry: Registry, ingested: Path, tmp_path: Path, heard: Any, tally: Tally
) -> None:
    pytest.importorskip("apprise")
    address, messages = heard
    serving, models = tmp_path / "application" / "serving.db", tmp_path / "registry" / "mlflow.db"
    serving.parent.mkdir()
    models.parent.mkdir()
    with (
        closing(sqlite3.connect(registry.uri.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect(models)) as target,
    ):
        source.backup(target)
    config = configured(
        tmp_path, registry, APP, watch={"retry_for": "12s"},
        export={"url": f"sqlite:///{serving}"}, notify={"to": [address]},
        mlflow={"tracking_uri": f"sqlite:///{models}", "experiment": "runs"},
    )  # fmt: skip
    copied(ingested, tmp_path / "tables")
    with watching(config) as watch:  # whose worker has no connection to the registry yet
        for database, step in ((models, "run"), (serving, "export")):
            with away(database):
                one = watch.asked(2, everyone=True)
                watch.until(f"app: {step} failed, tried again in 5 s")
                assert watch.ask(f"/signals/{one}")[1]["state"] == "queued"
            end = watch.answered(one)
            assert (end["state"] in ("published", "nothing_due"), end["attempts"]) == (True, 2)
        assert messages == []
        with away(serving):
            end = watch.answered(watch.asked(2))
        assert (end["state"], end["message"].startswith("export: ")) == ("failed", True)
        assert [(title.split(":")[0], kind) for title, _, kind in messages] == [("test failed", "failure")]
        assert watch.end() == 0
    tally(FAULT, "registry or database away", times=3)


def test_a_signal_for_one_user_after_the_lists_were_removed_takes_nobodys_list(
    spark: SparkSession, registry: Registry, ingested: Path, tmp_path: Path, tally: Tally
) -> None:
    config = configured(tmp_path, registry, APP)
    copied(ingested, tmp_path / "tables")
    with watching(config) as watch:
        watch.answered(watch.asked(everyone=True))
        before = exported(tmp_path)
        shutil.rmtree(tmp_path / "tables" / "recommendations")
        end = watch.answered(watch.asked(1))
        assert (end["state"], "this one has lists of 1 of 60 users" in end["message"]) == ("refused", True)
        assert exported(tmp_path) == before
        watch.answered(watch.asked(everyone=True))
        assert exported(tmp_path) == before
        assert watch.end() == 0
    tally(FAULT, "lists removed")


def test_files_that_are_none_stop_no_other_and_start_no_chain_again(
    spark: SparkSession, registry: Registry, tmp_path: Path, tally: Tally
) -> None:
    config = configured(tmp_path, registry, INCOMING)
    incoming = tmp_path / "incoming"
    (incoming / "1.csv").write_bytes(bytes(range(256)) * 64)
    (incoming / "2.csv").write_text("user,item\n1,2\n")
    (incoming / "empty.csv").touch()
    (incoming / "folder.csv").mkdir()
    with watching(config) as watch:
        watch.until("incoming: ingest: ")  # nothing but those
        time.sleep(2.5)
        assert watch.said.count("begins") == 1
        write_events(incoming / "3.csv", events_of())
        watch.until("incoming: export: ")
        time.sleep(2.5)
        assert watch.said.count("begins") == 2
        assert watch.end() == 0
        taken = made_by(spark, config, tmp_path).tables.table("ingested_files").read()
        refused = {row["path"].rsplit("/", 1)[1]: row["refused"] is not None for row in taken.collect()}
        assert refused == {"1.csv": True, "2.csv": True, "3.csv": False}
    tally(FAULT, "files that are none", times=4)


ANOTHER_MACHINE = """
import fcntl
real = fcntl.flock
def flock(file, *how):  # locks of tables are not seen from machine to machine
    if not str(getattr(file, "name", "")).endswith(".lock"):
        real(file, *how)
fcntl.flock = flock
"""
ITS_JOURNAL = "from scoreline.watch import watching\nwatching._FILE = 'of-the-other.db'"


def test_of_two_watches_on_one_machine_the_second_is_told(
    registry: Registry, ingested: Path, tmp_path: Path, tally: Tally
) -> None:
    config = configured(tmp_path, registry, INCOMING)
    copied(ingested, tmp_path / "tables")
    with watching(config) as watch:
        watch.until("watches test")
        assert f"\nwatch      process {watch.process.pid}, since " in str(status_of(config))
        second = Watch(config)
        assert second.process.wait(30) == 1
        assert "Another watch works on the tables of test (process " in watch.errors.read_text()
        assert watch.end() == 0
    assert "\nwatch      does not run on this machine: scoreline watch\n" in str(status_of(config))
    tally(FAULT, "two watches")


def status_of(config: Path) -> Status:
    return status(open_readers(load_settings(config)))


def test_two_machines_on_the_same_tables_do_nothing_twice(
    spark: SparkSession, registry: Registry, tmp_path: Path, tally: Tally
) -> None:
    """Without a lock between them: the fence decides who publishes, and who lost tries again."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "sitecustomize.py").write_text(ANOTHER_MACHINE)
    config, there = configured(tmp_path, registry, APP, INCOMING), tmp_path / "there.yaml"
    said = json.loads(config.read_text())
    said["watch"]["http"]["port"] = free_port()
    there.write_text(json.dumps(said))
    named = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "elsewhere"), os.environ.get("PYTHONPATH", "")])}
    incoming = tmp_path / "incoming"
    write_events(incoming / "1.csv", events_of())
    with watching(config, env=named) as one, watching(there, env=named, before=ITS_JOURNAL) as other:
        asked = []
        for number in (2, 3):
            fresh = tmp_path / "fresh.csv"
            write_events(fresh, [(user, number, 5, 1_780_000_000 + user) for user in range(number, 70, number)])
            asked += [(watch, watch.asked(everyone=True)) for watch in (one, other)]
            fresh.rename(incoming / f"{number}.csv")
            time.sleep(1.5)
        for watch, start in asked:
            assert watch.answered(start)["state"] in ("published", "nothing_due")
        for watch in (one, other):
            watch.until(lambda watch=watch: not watch.ask("/healthz")[1]["waiting"])
            time.sleep(1.5)
            watch.until(lambda watch=watch: not watch.ask("/healthz")[1]["waiting"])
            assert watch.end() == 0
    same_as_undisturbed(spark, config, incoming)
    tally(FAULT, "two machines")


@pytest.fixture(scope="module")
def guarded(registry: Registry, ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """A watch that asks for a token."""
    root = tmp_path_factory.mktemp("guarded")
    config = configured(root, registry, APP, watch={"http": {"port": free_port(), "token": TOKEN}})
    copied(ingested, root / "tables")
    with watching(config) as watch:
        watch.until(lambda: watch.ask("/healthz")[0] == 200)
        yield watch


def test_a_token_that_is_guessed_is_told_nothing(guarded: Watch, tally: Tally) -> None:
    for path, body in (("/signals/app", {}), ("/signals/none", {}), ("/signals/0", None), ("/metrics", None)):
        for said in ("", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", TOKEN, "Bearer \u00e9"):
            status, answer = guarded.ask(path, body, authorization=said)
            assert (status, list(answer)) == (401, ["error"])
            assert "app" not in answer["error"]
            assert TOKEN not in answer["error"]
    tally(FAULT, "a token that is guessed")


def test_a_body_without_end_costs_no_memory_and_keeps_nobody_waiting(guarded: Watch, tally: Tally) -> None:
    head = f"POST /signals/app HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    known = {"authorization": f"Bearer {TOKEN}"}
    process = psutil.Process(guarded.process.pid)
    guarded.ask("/signals/app", b" " * (1 << 20) + b"{}", **known)
    before = process.memory_info().rss
    for length in ("Content-Length: 100000000", "Transfer-Encoding: chunked"):
        assert b"413" in sent(guarded, f"{head}{length}\r\n\r\n", chunked=length.startswith("T"))
    assert process.memory_info().rss - before < 8 << 20

    with socket.create_connection(("127.0.0.1", guarded.port)) as slow:
        slow.sendall(f"{head}Content-Length: 10\r\n\r\n{{".encode())
        began = time.monotonic()
        assert guarded.ask("/signals/app", {"users": [1]}, **known)[0] == 202
        assert time.monotonic() - began < 2
        began = time.monotonic()
        assert guarded.end() == 0  # who is slow keeps it from ending no longer than it has to
        assert time.monotonic() - began < 10
    assert "Traceback" not in guarded.errors.read_text()
    tally(FAULT, "bodies without end", times=3)


def sent(watch: Watch, head: str, *, chunked: bool) -> bytes:
    """Send 100 MB, whether or not anybody listens; the first line of the answer."""
    with socket.create_connection(("127.0.0.1", watch.port)) as client:
        client.sendall(head.encode())
        part = bytes(1 << 20)
        try:
            for _ in range(100):
                client.sendall(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        except OSError:  # it has been closed at the other end
            pass
        try:
            return client.recv(4096).split(b"\r\n")[0]
        except ConnectionResetError:
            return b"413, and closed before it could be read" if chunked else b""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model that takes a second for each slice, and its users."""
    root = tmp_path_factory.mktemp("slow")
    return {
        "model": {"uri": str(save(root / "model")), "folder": str(root / "fetched")},
        "scoring": {"k": 3, "slice_users": 5},
        "audit": {"max_failed_share": 1},
    }


SLOW = {**APP, "name": "slow", "steps": ["ingest", "run"]}


@pytest.mark.parametrize("how", [pytest.param("SIGTERM", marks=pytest.mark.slow), "SIGTERM twice", "kill -9"])
def test_a_long_step_that_is_stopped_is_taken_up_next_time(
    how: str, spark: SparkSession, registry: Registry, slow: dict[str, Any], tmp_path: Path, tally: Tally
) -> None:
    patience = "0s" if how == "SIGTERM" else "60s"
    config = configured(tmp_path, registry, SLOW, watch={"stop_within": patience}, **slow)
    write_events(tmp_path / "incoming" / "1.csv", [(user, 9100, 5, 1_700_000_000) for user in range(25)])
    with watching(config) as watch:
        one = watch.asked(name="slow")
        watch.until("slow: ingest: ")
        worker = watch.worker
        assert worker is not None
        staging = tmp_path / "tables" / "_staging"
        watch.until(lambda: any(staging.rglob("*.parquet")) or list((tmp_path / "tables").glob("*stag*/*.parquet")))
        began = time.monotonic()
        if how == "kill -9":
            watch.kill()
            worker.wait(60)  # at the end of its step
        else:
            watch.process.send_signal(signal.SIGTERM)
            if how == "SIGTERM twice":
                time.sleep(0.5)
                watch.process.send_signal(signal.SIGTERM)
            assert watch.process.wait(30) == 0
            assert time.monotonic() - began < 12
            assert not worker.is_running()
            assert "was abandoned; taken up next time" in watch.said
        assert "Traceback" not in watch.errors.read_text()
        assert watch.errors.read_text() == ""
    with watching(config) as later:
        end = later.answered(one)
        assert (end["state"], later.said.count("slow: begins")) == (
            "nothing_due" if how == "kill -9" else "published",
            1,
        )
        assert later.end() == 0
    users = made_by(spark, config, tmp_path).tables.table("recommendations").read().select("user_id").collect()
    assert sorted(row[0] for row in users) == list(range(25))
    tally(FAULT, f"stopped in a step: {how}")


@pytest.mark.parametrize("after", [0.0, 0.6, 3.0])
def test_ctrl_c_in_a_terminal_is_an_end_in_order(
    after: float, registry: Registry, tmp_path: Path, tally: Tally
) -> None:
    """It goes to the whole group; the worker may be on its way to begin."""
    config = configured(tmp_path, registry, INCOMING)
    with watching(config) as watch:
        watch.until("watches test")
        time.sleep(after)
        os.killpg(watch.process.pid, signal.SIGINT)
        assert watch.process.wait(30) == 0
        assert watch.errors.read_text() == ""
        assert watch.said.endswith("stopped\n")
    tally(FAULT, "Ctrl-C")


def test_a_worker_that_grew_is_replaced_between_two_chains(
    registry: Registry, ingested: Path, tmp_path: Path, tally: Tally
) -> None:
    config = configured(tmp_path, registry, APP, watch={"memory_share": 0.0001})
    copied(ingested, tmp_path / "tables")
    with watching(config) as watch:
        for user in (1, 2):
            assert watch.answered(watch.asked(user, everyone=True))["state"] == "published"
            watch.until(lambda times=user: watch.said.count("the worker is replaced: it holds") == times)
        assert watch.end() == 0
    tally(FAULT, "a worker that grew")


def held_by(watch: Watch) -> tuple[int, int] | None:
    """What the watch holds, and its worker with all that it started, in MiB; None while there is no worker."""
    if (worker := watch.worker) is None:
        return None
    return psutil.Process(watch.process.pid).memory_info().rss >> 20, held_bytes(worker.pid) >> 20


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_thousand_chains_take_no_more_memory_than_a_hundred(
    registry: Registry, ingested: Path, tmp_path: Path, tally: Tally
) -> None:
    config = configured(tmp_path, registry, {**APP, "steps": ["run"]})
    copied(ingested, tmp_path / "tables")
    held = []
    with watching(config) as watch:
        for number in range(CHAINS):
            watch.answered(watch.asked(1, everyone=number % 2 == 0))
            if number % (CHAINS // 10) == CHAINS // 10 - 1:
                found = held_by(watch)
                assert found is not None
                held.append(found)
        print(held)
        assert watch.said.count("the worker is replaced") == 0
        assert watch.end() == 0
    for place in (0, 1):
        assert held[-1][place] < held[1][place] * 1.25 + 10, held
    tally(FAULT, "chains", times=CHAINS)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_what_a_thousand_chains_with_news_leave_in_memory_is_given_back(
    registry: Registry, tmp_path: Path, tally: Tally
) -> None:
    """The engine's parser of SQL keeps a part of all that it reads, until its process ends; logs of tables grow."""
    tidy = {"name": "tidy", "signal": True, "steps": ["optimize"]}
    config = configured(tmp_path, registry, {**APP, "steps": ["ingest", "run", "export"]}, tidy)
    incoming = tmp_path / "incoming"
    write_events(incoming / "all.csv", events_of())
    held = []
    with watching(config) as watch:
        watch.answered(watch.asked())
        for number in range(CHAINS):
            user = number % 60 + 1
            write_events(incoming / f"{number}.csv", [(user, number % 40 + 1, 5, 1_710_000_000 + number)])
            assert watch.answered(watch.asked(user))["state"] == "published"
            if number % 100 == 99:  # as each night
                assert watch.answered(watch.asked(name="tidy"))["state"] == "done"
            if (found := held_by(watch)) is not None:  # or it has just been replaced
                held.append(found)
        replaced = watch.said.count("the worker is replaced: it holds")
        print(held[:: max(1, len(held) // 50)], f"replaced {replaced} times")
        assert watch.end() == 0
    own, worker = zip(*held, strict=True)
    assert own[-1] < own[len(own) // 10] * 1.25 + 10
    assert max(worker) < max(worker[:10]) * 1.6
    assert replaced <= CHAINS / 50
    tally(FAULT, "chains with news", times=CHAINS)
