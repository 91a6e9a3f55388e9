"""From a target, a step and a configuration file to what has to be sent; nothing is sent here."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scoreline import __version__
from scoreline.config.loading import expand_text
from scoreline.deploy import targets
from scoreline.deploy.requests import Command, Document, Part, Post, filled_json
from scoreline.deploy.shipped import ZIP, is_installed, packed, shipped
from scoreline.deploy.targets import Request, SparkSubmit, load_target
from scoreline.engine.jars import delta_coordinate, delta_jars
from scoreline.engine.session import STATIC
from scoreline.errors import ConfigurationError

JOBS = {
    "ingest": "ingest_events.py",
    "train": "train_model.py",
    "promote": "promote_model.py",
    "run": "score_users.py",
    "export": "export_recommendations.py",
    "rollback": "rollback_run.py",
}
ENVIRONMENT = "environment"


@dataclass(frozen=True)
class Work:
    """One step of a pipeline: which job, its configuration file, and the options that follow it."""

    step: str
    config: Path
    options: tuple[str, ...] = ()

    @property
    def job(self) -> str:
        return JOBS[self.step]

    def arguments(self, config: str) -> tuple[str, ...]:
        return "--config", config, *self.options


def plan_submission(target: str, work: Work, *, folder: Path) -> list[Part]:
    """What `scoreline submit` sends, in order. Raises ConfigurationError for a mistake in the target's file."""
    if not work.config.is_file():
        raise ConfigurationError(f"{work.config}: no such configuration file.")
    variables = {
        "version": __version__,
        "zip": ZIP,
        "step": work.step,
        "job": work.job,
        "config": work.config.name,
        "config_path": str(work.config),
        "delta": delta_coordinate(),
        "target": str(folder / target),
        # filled later, when the target's file has been read
        "artifacts": "${artifacts}",
        "document": "${document}",
        "own_job": "${own_job}",
    }
    found = load_target(target, folder=folder, variables=variables)
    if isinstance(found, SparkSubmit):
        return [spark_submit(found, work)]
    return _request(found, work, variables, folder / target)


def spark_submit(target: SparkSubmit, work: Work) -> Command:
    """The whole `spark-submit` command."""
    shipped = target.deploy_mode == "cluster" and target.config_folder is None
    config = work.config.name if shipped else str(work.config.absolute())
    if target.config_folder:
        config = f"{target.config_folder.rstrip('/')}/{work.config.name}"
    options = ["--master", target.master, "--deploy-mode", target.deploy_mode, "--name", f"scoreline {work.step}"]
    options += _delta(target)
    if target.package == "zip":
        options += ["--py-files", _artifact(target.artifacts, ZIP)]
    if shipped:
        options += ["--files", str(work.config.absolute())]
    if target.environment:
        options += ["--archives", f"{target.environment}#{ENVIRONMENT}"]
    for key, value in {**_python(target), **STATIC, **target.conf}.items():
        options += ["--conf", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    job = _artifact(target.artifacts, f"jobs/{work.job}")
    return Command((_program(target), *options, job, *work.arguments(config)), target.variables)


def _delta(target: SparkSubmit) -> list[str]:
    if target.delta == "packages":
        return ["--packages", delta_coordinate()]
    if target.delta == "local":
        return ["--jars", ",".join(str(jar) for jar in delta_jars())]
    return []


def _python(target: SparkSubmit) -> dict[str, str]:
    """Which interpreter runs the driver and the workers; YARN's driver learns it by its own setting."""
    python = f"./{ENVIRONMENT}/bin/python" if target.environment else target.python
    if python is None:
        return {}
    settings = {"spark.executorEnv.PYSPARK_PYTHON": python, "spark.pyspark.python": python}
    if target.master == "yarn" and target.deploy_mode == "cluster":
        settings["spark.yarn.appMasterEnv.PYSPARK_PYTHON"] = python
    return settings


def _program(target: SparkSubmit) -> str:
    if target.spark_home:
        return f"{target.spark_home.rstrip('/')}/bin/spark-submit"
    import pyspark

    return str(Path(pyspark.__path__[0]) / "bin" / "spark-submit")


def _artifact(artifacts: str, name: str) -> str:
    if "://" in artifacts:
        return f"{artifacts.rstrip('/')}/{name}"
    path = Path(artifacts).absolute() / name
    if path.exists():
        return str(path)
    if not is_installed():
        raise ConfigurationError(f"{path}: not built yet. Build it with: make package")
    return str(packed() if name == ZIP else shipped(name))


def _request(target: Request, work: Work, variables: Mapping[str, str], folder: Path) -> list[Part]:
    known = {**variables, "artifacts": target.artifacts.rstrip("/"), "own_job": _own_job(target, work, folder)}
    # the driver reads the configuration from where it was uploaded
    arguments = work.arguments(f"{known['artifacts']}/conf/{work.config.name}")
    parts: list[Part] = [Command(tuple(_filled(argument, known) for argument in line)) for line in target.upload]
    content = ""
    if target.document:
        known["document"] = str(Path(tempfile.gettempdir()) / f"scoreline-{folder.name}-{work.step}.json")
        content = _document(folder / target.document, known, arguments)
    if target.post:
        return [*parts, _post(target.post, content)]
    if content:
        parts.append(Document(Path(known["document"]), content))
    send = [_filled(argument, known) for argument in target.send or ()]
    spliced = [part for argument in send for part in (arguments if argument == "${arguments}" else (argument,))]
    return [*parts, Command(tuple(spliced))]


def _own_job(target: Request, work: Work, folder: Path) -> str:
    """The platform's own job of a step; it takes no options, as whoever has made it has said them."""
    if target.jobs is None:
        return ""
    if work.step not in target.jobs:
        raise ConfigurationError(
            f"{folder / targets.FILE} has no job for {work.step}; its jobs are for {', '.join(target.jobs)}. Add one "
            "to jobs, or run the step from another machine."
        )
    if work.options:
        raise ConfigurationError(
            f"{folder / targets.FILE} starts {target.jobs[work.step]}, a job of the platform, which takes no options; "
            f"found {' '.join(work.options)}. Say them in the job, or in the configuration."
        )
    return target.jobs[work.step]


def _post(given: targets.Post, body: str) -> Post:
    password, token = (secret.get_secret_value() if secret else None for secret in (given.password, given.token))
    return Post(given.url, body, given.user, password, token)


def _document(path: Path, known: Mapping[str, str], arguments: Sequence[str]) -> str:
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file; it is the target's document.")
    text = expand_text(path.read_text(encoding="utf-8"), {**os.environ, **known, "arguments": "${arguments}"}, path)
    return filled_json(text, tuple(arguments), where=str(path))


def _filled(text: str, known: Mapping[str, str]) -> str:
    return expand_text(text, {**known, "arguments": "${arguments}"}, Path("the target's file"))
