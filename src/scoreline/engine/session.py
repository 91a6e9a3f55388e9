"""The Spark session: built here for a laptop, taken as it is where one exists (Databricks, a notebook, a test).

Under `spark-submit` the master and the jars come from the command; what is set here is what scoring needs anywhere.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from scoreline.engine.installed import has_classic_spark, is_submitted
from scoreline.engine.jars import delta_coordinate, delta_jars
from scoreline.engine.java import ensure_java
from scoreline.engine.session_settings import RUNTIME, modifiable
from scoreline.engine.thrown import engine_errors
from scoreline.errors import ConfigurationError, told

# Settings of a running session. Each has its reason in docs/architecture.md, "The session".
QUIET = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties').as_uri()}"
# Settings that are fixed once the session exists.
STATIC = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
LOCAL = {
    "spark.python.sql.dataFrameDebugging.enabled": "false",  # else each column asks Java
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "4g",
    "spark.driver.maxResultSize": "0",  # `train` brings the histories to the driver
    "spark.sql.shuffle.partitions": "8",
    # Spark makes this folder whether it is used or not, and by default where the command was typed
    "spark.sql.warehouse.dir": str(Path.home() / ".cache" / "scoreline" / "warehouse"),
}


Setting = str | int | float | bool


def get_session(
    app_name: str, extra: Mapping[str, Setting] | None = None, *, given: SparkSession | None = None
) -> SparkSession:
    """The session to work in, with Delta; `extra` are `spark.*` settings of the pipeline, which win.

    `given`, or one that exists, is taken with its own settings, which stay, and never stopped by us; a step works in it
    inside `session_settings` with those of `settings_of`. Raises ConfigurationError when Java or Delta cannot be
    had, when the session that exists lacks Delta, or where rows of damaged files would vanish.
    """
    wanted = {key: _text(value) for key, value in (extra or {}).items()}
    session = given or existing_session() or _build(app_name, wanted)
    _require_delta(session)
    _require_whole_files(session, wanted)
    return session


def settings_of(session: SparkSession, extra: Mapping[str, Setting] | None = None) -> dict[str, str]:
    """What the session has to have while we work in it: ours and those of the pipeline, where it lets us set them."""
    return modifiable(session, {**RUNTIME, **{key: _text(value) for key, value in (extra or {}).items()}})


def existing_session() -> SparkSession | None:
    """The session of this process, if there is one; another thread than this may have made it."""
    if (active := SparkSession.getActiveSession()) is not None:
        return active
    made = getattr(SparkSession, "_instantiatedSession", None)
    return made if made is not None and made._sc._jsc is not None else None


def _build(app_name: str, wanted: Mapping[str, str]) -> SparkSession:
    if remote := wanted.get("spark.remote") or os.environ.get("SPARK_REMOTE"):
        return _connected(app_name, remote)
    if not has_classic_spark():
        raise ConfigurationError(
            "This pipeline works with Spark, and only its client (pyspark-client) is installed here. Say engine: "
            "embedded, which says what it does not do; or take an environment with pip install 'scoreline[spark]'."
        )
    # a process of Spark Connect, such as the embedded engine's, leaves it to those that it starts
    os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)
    settings = {**STATIC, **RUNTIME}
    if not is_submitted():
        ensure_java()
        # loopback: a laptop's host name often resolves to nothing or to a VPN
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        jars = ",".join(str(jar) for jar in delta_jars())
        local = {"spark.master": "local[*]", "spark.jars": jars, "spark.driver.extraJavaOptions": _java_options()}
        settings |= {**LOCAL, **local}
        # other machines may not have the package before a job brings it; and what is imported before a fork may fail
        # after it elsewhere than on Linux
        if sys.platform == "linux" and wanted.get("spark.master", "local").startswith("local"):
            settings["spark.python.daemon.module"] = "scoreline.pipeline.worker_daemon"
    builder = SparkSession.builder.appName(app_name)
    for key, value in {**settings, **wanted}.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except engine_errors() as error:
        raise ConfigurationError(
            f"Spark could not be started: {told(error).rstrip('.')}. The lines above may say why; "
            "look at the spark settings of the configuration, JAVA_HOME, and the memory of this machine."
        ) from error


# Another Java may not know one of them, and would not start.
_COMPILING = (
    "-XX:+IgnoreUnrecognizedVMOptions -XX:+DisplayVMOutputToStderr -XX:CompileThresholdScaling=4 -XX:MaxInlineLevel=6 "
    "-XX:InlineSmallCode=800 -XX:FreqInlineSize=100"
)


def _java_options() -> str:
    """For a driver that lives for a run: collect garbage when there is some, compile what is used again and again.

    And compile that in small pieces, as compiling is a third of what a first run costs. A collector that the
    environment has chosen stays: Java does not start with two.
    """
    chosen = " ".join(os.environ.get(name, "") for name in ("JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS"))
    collector = "" if re.search(r"-XX:\+Use\w+GC", chosen) else " -XX:+UseParallelGC"
    return f"{QUIET} {_COMPILING}{collector}"


def _connected(app_name: str, address: str) -> SparkSession:
    """A session of Spark Connect: the server has the jars, the static settings and a Java."""
    try:
        session: SparkSession = SparkSession.builder.appName(app_name).remote(address).getOrCreate()
        session.conf.get("spark.sql.session.timeZone")
    except ImportError as error:
        raise ConfigurationError(
            f"Spark Connect needs more packages: {told(error)}. pip install 'pyspark[connect]'"
        ) from None
    except PySparkException as error:
        where = address.split(";", maxsplit=1)[0]
        raise ConfigurationError(f"Spark Connect at {where} cannot be reached: {told(error)}") from None
    return session


def _require_delta(session: SparkSession) -> None:
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return
    extensions = session.conf.get("spark.sql.extensions", "") or ""
    if "DeltaSparkSessionExtension" in extensions and _has_jars(session):
        return
    raise ConfigurationError(
        "The Spark session that exists has no Delta Lake. Start it with "
        f"--packages {delta_coordinate()} --conf spark.sql.extensions={STATIC['spark.sql.extensions']} "
        f"--conf spark.sql.catalog.spark_catalog={STATIC['spark.sql.catalog.spark_catalog']}."
    )


def _require_whole_files(session: SparkSession, wanted: Mapping[str, str]) -> None:
    """Raise ConfigurationError where Spark would leave out what it cannot read, without a word."""
    for key in ("spark.sql.files.ignoreCorruptFiles", "spark.sql.files.ignoreMissingFiles"):
        if str(wanted.get(key) or session.conf.get(key, "false")).lower() == "true":
            raise ConfigurationError(
                f"{key} is true: rows of a damaged file would vanish without a word. Set it to false, or leave it out."
            )


def _has_jars(session: SparkSession) -> bool:
    # Spark only warns of an extension that it cannot load; a session of Spark Connect has no JVM here to ask
    jvm: Any = getattr(session, "_jvm", None)
    return jvm is None or type(jvm.io.delta.tables.DeltaTable).__name__ != "JavaPackage"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
