"""The public face: a pipeline, and what can be done with it. The command line and the notebook use nothing else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoreline.config.loading import load_settings
from scoreline.config.settings import Settings, parse_duration
from scoreline.errors import InputError, told

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from scoreline.context import Context
    from scoreline.export.export import ExportReport
    from scoreline.ingest.ingest import IngestReport
    from scoreline.ingest.items import ItemsReport
    from scoreline.operations.doctor import DoctorReport
    from scoreline.operations.maintenance import Maintained
    from scoreline.operations.repair import RepairReport
    from scoreline.operations.show import UserView
    from scoreline.operations.status import Status
    from scoreline.pipeline.approve import ApprovalReport
    from scoreline.pipeline.plan import PlanReport
    from scoreline.pipeline.progress import Progress
    from scoreline.pipeline.rollback import RollbackReport
    from scoreline.pipeline.run_report import RunReport
    from scoreline.registry.promotion import Promotion
    from scoreline.training.train import TrainReport

__all__ = ["Pipeline"]


class Pipeline:
    """One configured pipeline; each method is a step, as the command of its name is, and gives back a frozen report.

    config: a YAML file, its URI on a cluster, or what one says as a dict or as Settings. set: keys to change,
    `{"scoring.k": 50}`, of those that docs/threats.md lists; not for Settings. spark: the session to work in; else the
    one that there is, else one of our own, which the first step starts.

    Raises ConfigurationError for a file or a key that is wrong; a step raises InputError, RunFailed or AuditRefused
    (`scoreline.errors`). A session that is not ours has its own settings back after each step.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | Settings,
        *,
        set: Mapping[str, object] | None = None,  # noqa: A002  # as `--set` is called
        spark: "SparkSession | None" = None,
    ) -> None:
        if isinstance(config, Settings):
            if set:
                raise TypeError("set changes what a file or a dict says; Settings have theirs already")
            self.settings = config
        else:
            self.settings = load_settings(config, [f"{key}={_yaml(value)}" for key, value in (set or {}).items()])
        self._spark = spark

    def __repr__(self) -> str:
        tables = self.settings.tables
        return f"Pipeline({self.settings.name!r}, tables in {tables.catalog or tables.root})"

    def ingest(self, events: str | Path, *, items: str | Path | None = None) -> "IngestReport":
        """Merge new events (a file, folder, table or database URL) into the users' histories; bad rows: quarantine.

        items: the catalogue with titles, which is replaced. A `Path` is a file of this machine, seen from the folder
        that Python is in; a text is seen as Spark sees it.
        """
        from scoreline.ingest.ingest import ingest_events

        report = ingest_events(self._context(), _named(events))
        return report if items is None else replace(report, items=self.ingest_items(items))

    def ingest_items(self, items: str | Path) -> "ItemsReport":
        """Replace the catalogue with titles."""
        from scoreline.ingest.items import ingest_items

        return ingest_items(self._context(), _named(items))

    def train(self, *, promote: bool = True, force: bool = False) -> "TrainReport":
        """Train, compare and register a version; the alias moves to it unless it is worse (`force`: even then).

        `refused` of the report says why the alias stayed.
        """
        from scoreline.training.train import train_model

        return train_model(self._context(), promote=promote, force=force)

    def promote(self, version: str | int | None = None, *, force: bool = False) -> "Promotion":
        """Point the model's alias at a version (default: the newest)."""
        from scoreline.training.train import promote_model

        return promote_model(self.settings, version=None if version is None else str(version), force=force)

    def plan(self, *, fraction: float = 1.0, full_refresh: bool = False) -> "PlanReport":
        """Who is due and why; nothing is written."""
        from scoreline.pipeline.run import plan_run

        return plan_run(self._context(), fraction=fraction, full_refresh=full_refresh)

    def run(
        self,
        *,
        fraction: float = 1.0,
        full_refresh: bool = False,
        restart: bool = False,
        verify: bool = False,
        progress: "Progress | None" = None,
    ) -> "RunReport":
        """Score who is due, audit the result and publish it in one commit (`scoreline.pipeline.run.run`).

        progress: who is told while users are scored; nobody by default.
        """
        from scoreline.pipeline.progress import silent
        from scoreline.pipeline.run import run

        return run(
            self._context(),
            fraction=fraction,
            full_refresh=full_refresh,
            restart=restart,
            verify=verify,
            progress=progress or silent,
        )

    def approve(self, run_id: str, *, reason: str) -> "ApprovalReport":
        """Publish a run that the audit refused; who did it and why is recorded."""
        from scoreline.pipeline.approve import approve_run

        return approve_run(self._context(), run_id, reason=reason)

    def rollback(self, run_id: str | None = None) -> "RollbackReport":
        """Bring the table, and the application's database, back to an earlier run (default: the one before)."""
        from scoreline.pipeline.rollback import roll_back

        return roll_back(self._context(), run_id=run_id)

    def export(self) -> "ExportReport":
        """Send what has changed since the last export to the application's database."""
        from scoreline.export.export import export

        return export(self._context())

    def recommendations(self, user_id: str | int) -> "UserView":
        """One user's history and list, by title."""
        return self.show([user_id])[0]

    def show(self, user_ids: Sequence[str | int], *, recent: int = 10) -> "list[UserView]":
        """Users' histories, of each the `recent` newest items, and lists, by title."""
        from scoreline.operations.show import show_users

        return show_users(self._context(), [str(user_id) for user_id in user_ids], recent=recent)

    def status(self) -> "Status":
        """Tables and versions, what is published, how fresh it is, the last runs."""
        from scoreline.operations.status import status

        return status(self._context())

    def doctor(self) -> "DoctorReport":
        """The installation looked over: Java, storage, registry, tables, leftovers."""
        from scoreline.operations.doctor import examine

        return examine(self.settings)

    def vacuum(self, *, retain: str | timedelta = "7d") -> "Maintained":
        """Delete files that no version of the last `retain` (`12h`, `7d`, `2w`) needs, and what dead runs left."""
        from scoreline.operations.maintenance import vacuum

        try:
            wanted = parse_duration(retain)
        except ValueError as error:
            raise InputError(f"retain: {told(error)}") from None
        if not isinstance(wanted, timedelta):
            raise InputError(f"retain: expected a duration such as 7d, found {retain!r}")
        return vacuum(self._context(), retain=wanted)

    def optimize(self) -> "Maintained":
        """Put small files of the tables together."""
        from scoreline.operations.maintenance import optimize

        return optimize(self._context())

    def repair(self) -> "RepairReport":
        """Give each user of `user_history` one row again, where somebody else has doubled it."""
        from scoreline.operations.repair import repair_histories

        return repair_histories(self._context())

    def table(self, name: str) -> "DataFrame":
        """A table of the pipeline, such as `recommendations` or `user_history`; InputError if it is not there."""
        return self._context().tables.existing(name, made_by="scoreline ingest or scoreline run").read()

    def _context(self) -> "Context":
        from scoreline.context import open_context

        return open_context(self.settings, spark=self._spark)


def _named(source: str | Path) -> str:
    return str(source.absolute()) if isinstance(source, Path) else source


def _yaml(value: object) -> str:
    return json.dumps(value, default=str)  # JSON is YAML, and what is text stays text
