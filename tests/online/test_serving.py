"""A new version is tried before it is served: for so long, and not when the server is told to stop."""

import os
import threading
import time
from pathlib import Path

import pytest

from scoreline.errors import RunFailed
from scoreline_fraud.server import server as serving
from scoreline_fraud.server.fetching import FetchedModel
from scoreline_fraud.server.server import Server
from scoreline_fraud.server.settings import ServingSettings


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(serving, "_TRIAL", "import time; time.sleep(20)")
    settings = ServingSettings(model="models:/x@y", state_dir=tmp_path, server={"start_timeout_s": 1})
    return Server(settings, dict(os.environ))


def fetched(folder: Path) -> FetchedModel:
    folder.mkdir(parents=True)
    return FetchedModel(folder.resolve(), folder.name, "a")


def test_a_version_that_does_not_load_in_time_is_not_served(server: Server, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(RunFailed, match=r"2 does not load, .*: no answer within 1 s"):
        server._try_out(fetched(tmp_path / "2"))
    assert time.monotonic() - began < 5


def test_a_server_that_is_told_to_stop_waits_for_no_trial(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = server.settings.server.model_copy(update={"start_timeout_s": 20})
    server.settings = server.settings.model_copy(update={"server": patient})
    threading.Timer(0.3, lambda: setattr(server, "_stop", True)).start()
    began = time.monotonic()
    with pytest.raises(RunFailed, match="is stopped"):
        server._try_out(fetched(tmp_path / "2"))
    assert time.monotonic() - began < 5


def test_what_a_trial_says_last_is_told(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_TRIAL", "raise SystemExit('no such kernel')")
    with pytest.raises(RunFailed, match="2 does not load, so the old version goes on: no such kernel"):
        server._try_out(fetched(tmp_path / "2"))


def test_versions_that_nobody_uses_are_removed(server: Server) -> None:
    films = server.models / "films"
    versions = [fetched(films / name) for name in "1234"]
    challenger = fetched(server.models / "other" / "1")
    server._challenger = versions[0].folder
    server._remove_others(keep=versions[2:])
    assert sorted(path.name for path in films.iterdir()) == ["1", "3", "4"]
    assert challenger.folder.is_dir()
