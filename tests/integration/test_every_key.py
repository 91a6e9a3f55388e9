"""Every key of the configuration changes something, or is refused where it would do nothing."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession

from builders import NOW, context, write_events
from keys import Differs, Shown, not_shown, set_in
from scoreline.config.keys import leaves
from scoreline.config.loading import load_settings
from scoreline.config.settings import Settings, TablesSettings
from scoreline.context import Context
from scoreline.engine.batch_size import batch_limits
from scoreline.errors import ConfigurationError, InputError
from scoreline.ingest.events import checked_events
from scoreline.ingest.ingest import ingest_events
from scoreline.ingest.items import ingest_items
from scoreline.pipeline.scoring_task import guard
from scoreline.registry.client import registry_of
from scoreline.sources.reader import read_source
from scoreline.sources.rules import ScoringRules
from scoreline.tables import schema
from scoreline.tables.delta import Tables
from scoreline.tables.schema import Keys
from scoreline.training import train
from scoreline.training.train import _asked, _promoted, histories

BASE: dict[str, Any] = {
    "name": "t",
    "tables": {"root": "unused"},
    "events": {
        "columns": {"user_id": "user", "item_id": "item", "time": "at", "weight": "rating"},
        "weight_range": [0, 10],
    },
    "items": {"item_id": "item", "title": "title"},
    "model": {"uri": "models:/t@champion"},
}


@dataclass(frozen=True)
class Rows:
    """What is read from one file differs from that with `base`; `also` is changed with it."""

    value: Any
    also: tuple[tuple[str, Any], ...] = ()
    base: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Columns:
    """The catalogue made of one file differs with another column."""

    value: str


def _schema(s: Settings) -> Any:
    return schema.recommendations(Keys(user=s.keys.user_id, item=s.keys.item_id), None)


def _asked_of(s: Settings) -> Any:
    return _asked(s.model.train, ScoringRules(k=1, exclude_seen=True, allowed=None, blocked=None, own={}))


def _promotes(s: Settings) -> dict[str, Any]:
    """What the registry is told when a version is promoted."""
    told: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "promote", lambda *_, **options: told.update(options))
        _promoted(s, version=None, force=False)
    return told


_LISTS = schema.user_history(Keys(user="long", item="long"))
_KINDS = (("events.columns.weight", None), ("events.columns.kind", "kind"))

KEYS: dict[str, Differs | Shown | Rows | Columns] = {
    "name": Differs("other", lambda s: s.experiment),
    "tables.root": Differs("elsewhere", lambda s: s.home),
    "tables.catalog": Shown("scoreline/tables/delta", "integration/tables/test_catalog.py"),
    "mlflow.tracking_uri": Differs("http://x", lambda s: s.tracking_uri),
    "mlflow.registry_uri": Differs("http://x", lambda s: registry_of(s.tracking_uri, s.mlflow.registry_uri)),
    "mlflow.experiment": Differs("other", lambda s: s.experiment),
    "keys.user_id": Differs("string", _schema),
    "keys.item_id": Differs("string", _schema),
    "events.format": Rows("json"),
    "events.separator": Rows(";"),
    "events.quote": Rows("'"),
    "events.encoding": Rows("ISO-8859-1"),
    "events.fields": Rows(["user", "item", "rating", "at", "kind"]),
    "events.columns.user_id": Rows("item"),
    "events.columns.item_id": Rows("user"),
    "events.columns.time": Rows("rating"),
    "events.columns.weight": Rows("item"),
    "events.columns.kind": Rows("kind", (("events.columns.weight", None), ("events.kinds", {"play": 2}))),
    "events.time": Rows("epoch_millis"),
    "events.weight_range": Rows([0, 3]),
    "events.kinds": Rows({"play": 3}, _KINDS, (*_KINDS, ("events.kinds", {"play": 7}))),
    "events.not_before": Rows(2024),
    "events.future_tolerance": Rows("9000d"),
    "engine": Shown("scoreline/context", "integration/engine/test_embedded.py"),
    "events.query": Shown("scoreline/ingest/ingest", "integration/ingest/test_ingest.py"),
    "events.table": Shown("scoreline/sources/news", "integration/databases/test_postgres_ingest.py"),
    "events.partitions": Shown("scoreline/sources/news", "integration/databases/test_postgres_mark.py"),
    "events.mark.column": Shown("scoreline/sources/marked", "integration/ingest/test_new.py"),
    "events.mark.overlap": Shown("scoreline/sources/marked", "integration/ingest/test_new.py"),
    "events.source": Shown("scoreline/ingest/new", "integration/ingest/test_new.py"),
    "events.kafka": Shown("scoreline/sources/news", "integration/sources/test_kafka.py"),
    "events.files": Shown("scoreline/ingest/new", "integration/ingest/test_new_files.py"),
    "events.settle": Shown("scoreline/ingest/new_files", "integration/ingest/test_new_files.py"),
    "events.max_bad_share": Shown("scoreline/ingest/ingest", "integration/ingest/test_ingest.py"),
    "items.format": Rows("json"),
    "items.separator": Rows(";"),
    "items.quote": Rows("'"),
    "items.encoding": Rows("ISO-8859-1"),
    "items.fields": Rows(["item", "title", "rating", "at", "kind"]),
    "items.item_id": Columns("rating"),
    "items.title": Columns("kind"),
    "items.genres": Columns("kind"),
    "histories.max_items": Shown("scoreline/ingest/ingest", "integration/ingest/test_ingest.py"),
    "histories.buckets": Shown("scoreline/ingest/merge", "integration/ingest/test_ingest.py"),
    "input.path": Shown("scoreline/pipeline/inputs", "integration/pipeline/test_tabular.py"),
    "input.table": Shown("scoreline/pipeline/inputs", "integration/pipeline/test_tabular.py"),
    "input.format": Shown("scoreline/pipeline/inputs", "integration/pipeline/test_tabular.py"),
    "input.key": Shown("scoreline/pipeline/inputs", "integration/pipeline/test_tabular.py"),
    "input.columns": Shown("scoreline/pipeline/pinned_model", "integration/scoring/test_flavors.py"),
    "model.uri": Shown("scoreline/pipeline/pinned_model", "integration/cli/test_cli.py"),
    "model.sha256": Shown("scoreline/pipeline/scoring_task", "faults/test_tampered_models.py"),
    "model.require_digest": Shown("scoreline/pipeline/scoring_task", "faults/test_tampered_models.py"),
    "model.allow": Shown("scoreline/pipeline/pinned_model", "faults/test_tampered_models.py"),
    "model.train.estimator": Shown("scoreline/training/train", "unit/training/test_fit.py"),
    "model.train.params": Shown("scoreline/training/train", "unit/models/test_parameters.py"),
    "model.train.split.by": Differs("user", _asked_of),
    "model.train.split.holdout": Differs(0.3, _asked_of),
    "model.train.split.seed": Differs(7, _asked_of),
    "model.train.metric": Differs("recall_at_20", lambda s: (_asked_of(s), _promotes(s))),
    "model.train.promote_margin": Differs(0.3, _promotes),
    "model.train.min_test_users": Differs(7, lambda s: (_asked_of(s), _promotes(s))),
    "model.train.max_users": Shown("scoreline/training/train", "integration/test_every_key.py"),
    "model.folder": Differs("elsewhere", lambda s: s.model_folder),
    "model.shared": Shown("scoreline/pipeline/pinned_model", "faults/alone/test_killed_workers.py"),
    "scoring.k": Shown("scoreline/sources/rules", "integration/pipeline/test_run.py"),
    "scoring.exclude_seen": Shown("scoreline/sources/rules", "integration/scoring/test_seen.py"),
    "scoring.allowed_items": Shown("scoreline/sources/rules", "integration/pipeline/test_run.py"),
    "scoring.blocked_items": Shown("scoreline/sources/rules", "integration/pipeline/test_run.py"),
    "scoring.params": Shown("scoreline/sources/rules", "online/test_parity.py"),
    "scoring.max_age": Shown("scoreline/pipeline/snapshot", "integration/pipeline/test_run.py"),
    "scoring.slice_users": Shown("scoreline/pipeline/snapshot", "integration/pipeline/test_run.py"),
    "scoring.batch_rows": Differs(9, lambda s: batch_limits(_LISTS, s.scoring)),
    "scoring.batch_mib": Differs(9, lambda s: batch_limits(_LISTS, s.scoring)),
    "scoring.batch_timeout": Differs("9m", lambda s: guard(s.scoring)),
    "scoring.row_timeout": Differs("9m", lambda s: guard(s.scoring)),
    "scoring.worker_memory_share": Differs(0.9, lambda s: guard(s.scoring)),
    "audit.max_failed_share": Differs(0.9, lambda s: s.audit.tolerated(1_000)),
    "audit.max_failed_floor": Differs(9, lambda s: s.audit.tolerated(1_000)),
    **{
        f"audit.{name}": Shown("scoreline/config/scoring", "faults/test_audit_refuses.py")
        for name in (
            "max_empty_share", "max_short_share", "max_fallback_share", "max_top_item_share", "min_distinct_items",
            "min_overlap", "max_overlap", "max_psi", "min_users_share", "warn",
        )
    },
    "audit.verify_every": Shown("scoreline/pipeline/snapshot", "integration/pipeline/test_strangers.py"),
    "audit.sample_users": Shown("scoreline/pipeline/publish", "integration/pipeline/test_run.py"),
    "freshness.max_age": Shown("scoreline/runs/freshness", "integration/runs/test_freshness.py"),
    "freshness.share": Shown("scoreline/runs/freshness", "integration/runs/test_freshness.py"),
    "notify.to": Shown("scoreline/runs/telling", "integration/runs/test_telling.py"),
    "notify.on": Shown("scoreline/runs/telling", "integration/runs/test_telling.py"),
    "metrics.pushgateway": Shown("scoreline/runs/metrics", "integration/runs/test_metrics.py"),
    "metrics.textfile": Shown("scoreline/runs/metrics", "integration/runs/test_metrics.py"),
    "lineage.url": Shown("scoreline/runs/lineage", "integration/runs/test_lineage.py"),
    "lineage.api_key": Shown("scoreline/runs/lineage", "integration/runs/test_lineage.py"),
    "lineage.file": Shown("scoreline/runs/lineage", "integration/runs/test_lineage.py"),
    "lineage.namespace": Shown("scoreline/runs/lineage", "integration/runs/test_lineage.py"),
    "watch.triggers.name": Shown("scoreline/watch/supervisor", "unit/watch/test_schedule.py"),
    "watch.triggers.at": Shown("scoreline/watch/schedule", "unit/watch/test_schedule.py"),
    "watch.triggers.timezone": Shown("scoreline/watch/schedule", "unit/watch/test_schedule.py"),
    "watch.triggers.grace": Shown("scoreline/watch/schedule", "unit/watch/test_schedule.py"),
    "watch.triggers.files": Shown("scoreline/watch/looks", "integration/watch/test_watching.py"),
    "watch.triggers.settle": Shown("scoreline/watch/looks", "integration/watch/test_triggers_page.py"),
    "watch.triggers.source": Shown("scoreline/watch/supervisor", "integration/watch/test_worker.py"),
    "watch.triggers.table": Shown("scoreline/watch/looks", "integration/watch/test_watching.py"),
    "watch.triggers.model": Shown("scoreline/watch/supervisor", "integration/watch/test_watching.py"),
    "watch.triggers.signal": Shown("scoreline/watch/http", "unit/watch/test_http.py"),
    "watch.triggers.webhook": Shown("scoreline/watch/http", "unit/watch/test_http.py"),
    "watch.triggers.debounce": Shown("scoreline/watch/http", "unit/watch/test_http.py"),
    "watch.triggers.every": Shown("scoreline/watch/supervisor", "integration/watch/test_worker.py"),
    "watch.triggers.steps": Shown("scoreline/watch/supervisor", "integration/watch/test_watching.py"),
    "watch.triggers.fraction": Shown("scoreline/watch/worker", "integration/watch/test_worker.py"),
    "watch.triggers.budget": Shown("scoreline/watch/worker", "integration/watch/test_worker.py"),
    "watch.triggers.spark": Shown("scoreline/watch/worker", "integration/watch/test_worker.py"),
    "watch.http.host": Shown("scoreline/watch/http", "unit/watch/test_http.py"),
    "watch.http.port": Shown("scoreline/watch/http", "unit/watch/test_http.py"),
    "watch.http.token": Shown("scoreline/watch/http", "unit/watch/test_http.py"),
    "watch.retry_for": Shown("scoreline/watch/supervisor", "integration/watch/test_supervisor.py"),
    "watch.stop_within": Shown("scoreline/watch/supervisor", "faults/test_watch_accidents.py"),
    "watch.memory_share": Shown("scoreline/watch/supervisor", "faults/test_watch_accidents.py"),
    "export.url": Shown("scoreline/export/export", "integration/export/test_export.py"),
    "export.table": Shown("scoreline/export/export", "integration/export/test_export.py"),
    "spark": Shown("scoreline/context", "unit/config/test_loading.py"),
}  # fmt: skip


def _changed(tmp_path: Path, *changes: tuple[str, Any]) -> Settings:
    tree = copy.deepcopy(BASE)
    for key, value in changes:
        set_in(tree, key, value)
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(tree))
    return load_settings(path)


def test_every_key_has_its_entry() -> None:
    assert sorted(KEYS) == sorted(leaves(Settings))


@pytest.mark.parametrize("key", [key for key, entry in KEYS.items() if isinstance(entry, Differs)])
def test_another_value_gives_something_else(key: str, tmp_path: Path) -> None:
    entry = KEYS[key]
    assert isinstance(entry, Differs)
    assert entry.seen(_changed(tmp_path, (key, entry.value))) != entry.seen(_changed(tmp_path))


def test_what_other_tests_show_is_read_where_it_is_said_and_named_in_the_test() -> None:
    assert not_shown(KEYS) == []


LINES = """user,item,rating,at,kind
1,2,5,1700000000,play
2,3,"4",1700000001,play
3,'4',5,1700000001,like
4,5,5,1900000000,café
"""


def _read(spark: SparkSession, path: Path, made: Settings, section: str) -> Any:
    try:
        if section == "items":
            assert made.items is not None
            return [tuple(row) for row in read_source(spark, str(path), made.items, [made.items.item_id]).collect()]
        assert made.events is not None
        rows = read_source(spark, str(path), made.events, made.events.source_columns())
        keys = Keys(user=made.keys.user_id, item=made.keys.item_id)
        found = checked_events(rows, made.events, keys, now=NOW).collect()
        return sorted(str(tuple(row)) for row in found)
    except InputError as error:
        return str(error)


def test_what_is_read_from_a_file_depends_on_every_key_of_its_section(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "lines.csv"
    file.write_text(LINES, encoding="utf-8")
    same, known = [], dict[tuple[str, str], Any]()
    for key, entry in KEYS.items():
        if not isinstance(entry, Rows):
            continue
        section = key.split(".", maxsplit=1)[0]
        before = (section, str(entry.base))
        if before not in known:
            known[before] = _read(spark, file, _changed(tmp_path, *entry.base), section)
        if _read(spark, file, _changed(tmp_path, *entry.also, (key, entry.value)), section) == known[before]:
            same.append(key)
    assert same == []


def test_the_catalogue_is_made_of_the_columns_that_are_named(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "lines.csv"
    file.write_text(LINES.replace("café", "genre"), encoding="utf-8")

    def catalogue(*changes: tuple[str, Any]) -> list[str]:
        made = _changed(tmp_path, ("items.title", "at"), *changes)
        made = made.model_copy(update={"tables": TablesSettings(root=str(tmp_path / "tables"))})
        context = Context(made, spark, Tables(spark, made.tables), NOW)
        ingest_items(context, str(file))
        return sorted(map(str, context.tables.table("items").read().collect()))

    before = catalogue()
    others = {key: catalogue((key, entry.value)) for key, entry in KEYS.items() if isinstance(entry, Columns)}
    assert [key for key, rows in others.items() if rows == before] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("events.kinds", {"a": 1})], "events: kinds does nothing without columns.kind"),
        ([("events.partitions", 4)], "events: partitions does nothing without table"),
        ([("events.mark", {"column": "id"})], "events: mark does nothing without table"),
        ([("events.kafka", {"a": "b"})], "events: kafka does nothing without source: kafka://"),
        (
            [("events.source", "kafka://h:9092/t"), ("events.query", "SELECT 1")],
            "events: query and table do nothing with a source that is a topic",
        ),
        ([("events.columns.weight", None)], "events: weight_range does nothing without columns.weight or columns.kind"),
        *[
            ([(f"{section}.format", kind), (f"{section}.{key}", value)], f"{section}: {key} does nothing with")
            for section in ("events", "items")
            for kind in ("json", "parquet", "delta")
            for key, value in (("separator", ";"), ("quote", ""), ("encoding", "UTF-8"), ("fields", ["user"]))
        ],
        ([("audit.warn", ["max_psi"])], "audit: warn names max_psi, which is switched off"),
    ],
)  # fmt: skip
def test_a_key_that_would_do_nothing_is_refused(changes: list[tuple[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _changed(tmp_path, *changes)


def test_a_sample_of_users_is_smaller(spark: SparkSession, tmp_path: Path) -> None:
    file = write_events(tmp_path / "events.csv", [(user, 1, 1, 1_700_000_000) for user in range(40)])
    made = context(spark, tmp_path / "tables")
    ingest_events(made, file)
    model = {"uri": "models:/t@champion", "train": {"max_users": 10}}
    some = histories(context(spark, tmp_path / "tables", model=model)).column("user_id").to_pylist()
    assert set(some) < set(histories(made).column("user_id").to_pylist()) == set(range(40))
