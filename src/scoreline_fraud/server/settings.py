"""`conf/serving/*.yaml`: everything that is set about serving, in one file, checked as a whole."""

import json
from pathlib import Path
from typing import Final

from pydantic import Field

from scoreline.config.loading import load_file
from scoreline.config.section import Section
from scoreline_fraud.client.settings import ClientSettings
from scoreline_fraud.serving.rules import ServingRules, Shadow

__all__ = ["ServerSettings", "ServingSettings", "env_file", "environment", "load_settings"]


class ServerSettings(Section):
    """How MLflow's server, which is uvicorn, is run."""

    host: str = "127.0.0.1"
    port: int = Field(default=5001, gt=0, lt=65_536)
    workers: int = Field(default=2, gt=0, le=256)
    timeout_s: int = Field(default=2, gt=0)
    """After which a request is answered 504; its thread goes on, so the model itself must be quick."""
    limit_concurrency: int = Field(default=64, gt=0)
    """Open connections per worker, kept-alive ones included, above which the answer is 503 at once."""
    backlog: int = Field(default=128, gt=0)
    keep_alive_s: int = Field(default=75, gt=0)
    graceful_stop_s: int = Field(default=20, gt=0)
    start_timeout_s: int = Field(default=90, gt=0)
    """How long a worker may take to load, and a hung one to be found."""
    access_log: bool = False
    log_level: str = Field(default="warning", pattern="^(critical|error|warning|info|debug)$")
    follow_alias_s: float | None = Field(default=None, gt=0)
    """How often to look whether the alias has moved to another version; None: only when told by SIGHUP."""


class Challenger(Section):
    """A model that scores along without being heard."""

    model: str
    log: Path


class ServingSettings(Section):
    """The whole file."""

    model: str
    model_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Refuse to load anything else; `scoreline serve` logs the digest of what it loads."""
    require_digest: bool = False
    """Load no model, the challenger included, whose digest nobody has pinned or recorded (`scoreline promote`)."""
    allow: tuple[str, ...] | None = None
    """Patterns such as `models:/card_fraud@*`; a model from elsewhere, the challenger included, is refused."""
    tracking_uri: str | None = None
    state_dir: Path = Path("data/serving")
    challenger: Challenger | None = None
    server: ServerSettings = ServerSettings()
    rules: ServingRules = ServingRules()
    client: ClientSettings = ClientSettings()


_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def load_settings(path: Path) -> ServingSettings:
    """The settings in a YAML file; raises ConfigurationError with a line per mistake."""
    return load_file(path, ServingSettings)


def environment(settings: ServingSettings, *, challenger: Path | None = None) -> dict[str, str]:
    """The settings as uvicorn, MLflow's application and `mlflow models serve` read them."""
    server, rules = settings.server, settings.rules
    if challenger is not None and settings.challenger is not None:
        rules = rules.model_copy(update={"shadow": Shadow(model=challenger, log=settings.challenger.log)})
    found = {
        "MLFLOW_HOST": server.host,
        "MLFLOW_PORT": str(server.port),
        "MLFLOW_MODELS_WORKERS": str(server.workers),
        "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": str(server.timeout_s),
        "MLFLOW_DISABLE_SCHEMA_DETAILS": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "UVICORN_HOST": server.host,
        "UVICORN_PORT": str(server.port),
        "UVICORN_WORKERS": str(server.workers),
        "UVICORN_LIMIT_CONCURRENCY": str(server.limit_concurrency),
        "UVICORN_BACKLOG": str(server.backlog),
        "UVICORN_TIMEOUT_KEEP_ALIVE": str(server.keep_alive_s),
        "UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": str(server.graceful_stop_s),
        "UVICORN_TIMEOUT_WORKER_HEALTHCHECK": str(server.start_timeout_s),
        "UVICORN_ACCESS_LOG": str(server.access_log).lower(),
        "UVICORN_LOG_LEVEL": server.log_level,
        "UVICORN_SERVER_HEADER": "false",
        "UVICORN_DATE_HEADER": "false",
        "UVICORN_PROXY_HEADERS": "false",
        **dict.fromkeys(_ONE_THREAD, "1"),
        "SERVING_MODEL_CONFIG": json.dumps(rules.model_dump(mode="json")),
    }
    if settings.tracking_uri:
        found["MLFLOW_TRACKING_URI"] = settings.tracking_uri
    if rules.metrics.port is not None:
        found["PROMETHEUS_MULTIPROC_DIR"] = str(settings.state_dir / "metrics")
    return found


def env_file(settings: ServingSettings) -> str:
    """The same as text for `mlflow --env-file … models serve …`, which needs nothing of this project."""
    lines = [f"{key}='{value}'" if key.startswith("SERVING") else f"{key}={value}"
             for key, value in environment(settings).items()]  # fmt: skip
    return "\n".join(lines) + "\n"
