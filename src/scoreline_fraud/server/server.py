"""MLflow's server with everything set, stopped gracefully and moved to a new model version while it serves.

`mlflow models serve` starts uvicorn with MLflow's scoring application and leaves at SIGTERM while uvicorn drains. Here
uvicorn is started itself, with that application under a cheaper time limit (`scoreline_fraud.serving.application`).

The alias is turned into one version first, that version is fetched into `state_dir`, and the server is given the
name `state_dir/current`. To swap, the new version is fetched and loaded once on trial, the name is moved, and uvicorn
is told (SIGHUP) to replace its workers one by one: each new one is ready before its predecessor leaves.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

import psutil

from scoreline.errors import ConfigurationError, RunFailed, told
from scoreline_fraud.server.fetching import FetchedModel, fetch_model
from scoreline_fraud.server.settings import ServingSettings, environment
from scoreline_fraud.serving.application import serving_command
from scoreline_fraud.serving.rules import MetricsRules
from scoreline_fraud.serving.snapshot import publish

__all__ = ["Server"]

_log = logging.getLogger(__name__)
# what a model's own code compiles to would be a file more in its folder, which is compared at each start
_NO_BYTECODE: Final = {"PYTHONDONTWRITEBYTECODE": "1"}
_TRIAL: Final = """
import json, os, sys, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1], model_config=json.loads(os.environ["SERVING_MODEL_CONFIG"]))
(answer,) = model.predict([{}])
assert answer["decision"] == "review", answer
"""


class Server:
    """uvicorn with MLflow's application and our model."""

    def __init__(self, settings: ServingSettings, environ: Mapping[str, str]) -> None:
        self.settings, self.environ = settings, environ
        self.models = settings.state_dir / "models"
        self.name = (settings.state_dir / "current").absolute()
        self._wake, self._stop, self._swap = threading.Event(), False, False
        self._process: subprocess.Popen[bytes] | None = None
        self.serving: FetchedModel | None = None
        self._challenger: Path | None = None

    def start(self) -> None:
        """Fetch the model and start the server; returns before it answers (`wait_until_ready`)."""
        model = self._fetch()
        publish(model.folder, self.name)
        command, model_path = serving_command(self.name)
        env = {**self._environment(), **model_path}
        figures = env.get("PROMETHEUS_MULTIPROC_DIR")
        if figures:  # the files of workers long gone
            shutil.rmtree(figures, ignore_errors=True)
            Path(figures).mkdir(parents=True)
        self._process = subprocess.Popen(command, env=env, start_new_session=True)
        self.serving = model
        _log.warning("serving=%s sha256=%s port=%d", model.version, model.sha256, self.settings.server.port)

    def wait_until_ready(self, timeout_s: float | None = None) -> None:
        """Until `/ping` answers; a server that does not start is an error."""
        import requests

        server = self.settings.server
        deadline = time.monotonic() + (timeout_s or server.start_timeout_s)
        while time.monotonic() < deadline:
            if self.returncode() is not None:
                raise RunFailed("the server stopped while starting; its log above says why")
            try:
                if requests.get(f"http://{server.host}:{server.port}/ping", timeout=1).ok:
                    return
            except requests.RequestException:
                time.sleep(0.1)
        raise RunFailed(f"the server did not answer on {server.host}:{server.port} in {server.start_timeout_s} s")

    def swap(self) -> bool:
        """Move to the version that the configured name means now; False if that is being served already."""
        if self._process is None or self.returncode() is not None:
            raise RunFailed("the server is not running")
        model = self._fetch()
        if self.serving is not None and model == self.serving:
            return False
        if self.settings.server.workers < 2:
            raise ConfigurationError("a swap without a gap needs server.workers of 2 or more, found 1")
        self._try_out(model)
        publish(model.folder, self.name)
        self._process.send_signal(signal.SIGHUP)
        before, self.serving = self.serving, model
        _log.warning("swapping_to=%s sha256=%s", model.version, model.sha256)
        self._remove_others(keep=[model, *([before] if before else [])])
        return True

    def _try_out(self, model: FetchedModel) -> None:
        """Load a model in a process of its own, for as long as a worker may take; a stop of the server ends it."""
        command = [sys.executable, "-W", "ignore", "-c", _TRIAL, str(model.folder)]
        trial = subprocess.Popen(
            command, env=self._trial_environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        deadline = time.monotonic() + self.settings.server.start_timeout_s
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(trial.stderr or ()), daemon=True)
        reader.start()
        try:
            while trial.poll() is None and time.monotonic() < deadline and not self._stop:
                time.sleep(0.1)
        finally:
            ended = trial.poll()
            with suppress(ProcessLookupError):
                os.killpg(trial.pid, signal.SIGKILL)
            trial.wait()
            reader.join(timeout=1)
        if ended == 0:
            return
        if ended is None and self._stop:
            raise RunFailed("the server is stopped, so no new version is tried")
        last = f"no answer within {self.settings.server.start_timeout_s} s (server.start_timeout_s)"
        if ended is not None:
            last = ([line for line in said if line.strip()] or ["no message"])[-1].strip()
        raise RunFailed(f"{model.version} does not load, so the old version goes on: {last}")

    def _remove_others(self, *, keep: list[FetchedModel]) -> None:
        """Fetched versions of the same model that are neither served, nor were before this swap, nor a challenger."""
        used = {model.folder for model in keep} | ({self._challenger} if self._challenger else set())
        for folder in {model.folder.parent for model in keep if model.folder.is_relative_to(self.models.resolve())}:
            for other in folder.iterdir():
                if other.resolve() not in used and not other.name.startswith("."):
                    shutil.rmtree(other, ignore_errors=True)

    def stop(self) -> int:
        """Let the requests in flight finish, then end every process of the server."""
        process = self._process
        if process is None:
            return 0
        for sign, patience in ((signal.SIGTERM, self.settings.server.graceful_stop_s + 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(process.pid, sign)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and _group_lives(process.pid):
                process.poll()
                time.sleep(0.05)
        process.wait()
        self._process = None
        return 0

    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process else 0

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; look for a new version at SIGHUP and every `follow_alias_s`, if set."""

        def on_signal(number: int, _: FrameType | None) -> None:
            self._stop = self._stop or number != signal.SIGHUP
            self._swap = self._swap or number == signal.SIGHUP
            self._wake.set()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, on_signal)
        self.start()
        every = self.settings.server.follow_alias_s
        looked = time.monotonic()
        try:
            while not self._stop and self.returncode() is None:
                self._wake.wait(0.5)
                self._wake.clear()
                due = every is not None and time.monotonic() - looked >= every
                if (self._swap or due) and not self._stop:
                    self._swap, looked = False, time.monotonic()
                    self._try_to_swap()
        finally:
            died = self.returncode()
            self.stop()
        if self._stop or not died:
            return 0
        raise RunFailed(f"the server ended by itself with code {died}; its log above says why")

    def _try_to_swap(self) -> None:
        try:
            self.swap()
        except Exception as error:  # the registry may be away for an hour: what is served goes on being served
            _log.error("swap failed: %s", told(error))

    def _fetch(self) -> FetchedModel:
        return self._fetched(self.settings.model, sha256=self.settings.model_sha256)

    def _fetched(self, uri: str, *, sha256: str | None = None) -> FetchedModel:
        given = self.settings
        return fetch_model(
            uri,
            into=self.models,
            tracking_uri=given.tracking_uri,
            sha256=sha256,
            require_digest=given.require_digest,
            allow=given.allow,
        )

    def _environment(self) -> dict[str, str]:
        challenger = None
        if self.settings.challenger is not None:
            challenger = self._challenger = self._fetched(self.settings.challenger.model).folder
        return {**self.environ, **_NO_BYTECODE, **environment(self.settings, challenger=challenger)}

    def _trial_environment(self) -> dict[str, str]:
        """The server's, but without a metrics port and a challenger of its own."""
        rules = self.settings.rules.model_copy(update={"metrics": MetricsRules(), "shadow": None})
        alone = self.settings.model_copy(update={"rules": rules, "challenger": None})
        return {**self.environ, **_NO_BYTECODE, **environment(alone)}


def _group_lives(group: int) -> bool:
    """Whether any process of the group is more than a zombie."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
