"""One small pipeline, ingested and trained once; each target scores a copy of it, and the tables are compared."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scoreline.cli.demo_data import Service, write_service

ROOT = Path(__file__).parents[2]
QUICK = {
    "spark.ui.enabled": False,
    "spark.sql.shuffle.partitions": 2,
    "spark.default.parallelism": 2,
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
# what has to be the same wherever a run ran; run_id and scored_at say which run it was
SAME = ("user_id", "bucket", "recommendations", "source", "model_name", "model_version", "history_hash", "rules_hash")


@dataclass(frozen=True)
class Project:
    """A folder with events, tables that are ready to be scored, and a registry."""

    folder: Path
    events: Path

    @classmethod
    def new(cls, folder: Path, *, users: int = 300) -> "Project":
        events, _ = write_service(folder, Service(users=users))
        made = cls(folder, events)
        config = made.config("base", root=str(folder / "base"))
        made.scoreline("ingest", "--config", str(config), "--events", str(events))
        made.scoreline("train", "--config", str(config), "--force")
        return made

    def config(self, name: str, *, root: str, spark: Mapping[str, Any] | None = None) -> Path:
        """The pipeline over other tables: the same registry, the same rules."""
        shipped = yaml.safe_load((ROOT / "conf" / "demo.yaml").read_text())
        shipped["tables"] = {"root": root}
        shipped["mlflow"] = {"tracking_uri": f"sqlite:///{self.folder / 'mlflow.db'}"}
        shipped["model"]["folder"] = str(self.folder / "models" / name)
        shipped["scoring"]["slice_users"] = 150
        shipped["histories"] = {"buckets": 8}
        shipped["spark"] = {**shipped.get("spark", {}), **(spark or {})}
        path = self.folder / "conf" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(shipped))
        return path

    def copied(self, name: str) -> Path:
        """A copy of the ingested tables, on this machine."""
        target = self.folder / name
        shutil.copytree(self.folder / "base", target, ignore=shutil.ignore_patterns(".*.lock", "models"))
        return target

    def target(self, name: str, **changes: Any) -> Path:
        """The shipped file of a target with what is this machine's; returns the folder of targets."""
        given = yaml.safe_load((ROOT / "conf" / "deploy" / name / "target.yaml").read_text())
        conf = {**given.get("conf", {}), **QUICK, **changes.pop("conf", {})}
        given |= {"artifacts": str(ROOT / "dist"), "delta": "local", "python": sys.executable, "conf": conf, **changes}
        path = self.folder / "targets" / name / "target.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({k: v for k, v in given.items() if v is not None}))
        return self.folder / "targets"

    def environment(self) -> dict[str, str]:
        """This process's, without what belongs to a session of its own."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_", "MLFLOW_"))}
        return {**kept, "PYTHONPATH": str(ROOT / "src"), "SPARK_LOCAL_IP": "127.0.0.1"}

    def scoreline(self, *arguments: str, **environment: str) -> str:
        """The command in a process of its own; its output, or RuntimeError with what it said."""
        kept = {**self.environment(), **environment}
        command = [sys.executable, "-m", "scoreline.cli.main", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept, cwd=self.folder)
        if done.returncode != 0:
            said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("\tat ", "WARN"))]
            raise RuntimeError(
                f"scoreline {' '.join(arguments[:3])} ended with {done.returncode}:\n" + "\n".join(said[-25:])
            )
        return done.stdout


@dataclass(frozen=True)
class JsonLines:
    """What the mapper of Hadoop streaming wrote."""

    folder: str


def published(spark: Any, root: str) -> Any:
    return spark.read.format("delta").load(f"{root}/recommendations").select(*SAME)


def differences(spark: Any, one: str, other: str | JsonLines) -> tuple[int, int]:
    """Rows of the first table, and how many rows only one of the two has."""
    left = published(spark, one)
    if isinstance(other, JsonLines):
        left = left.select("user_id", "recommendations", "source")
        right = spark.read.schema(left.schema).json(other.folder)
    else:
        right = published(spark, other)
    return left.count(), left.exceptAll(right).count() + right.exceptAll(left).count()
