"""Whoever has seen an item does not get it again, however long ago that was and whatever the model is shown."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from builders import NOW, write_events
from integration.conftest import ITEMS, events_of
from integration.truth import expected, published
from scoreline.errors import AuditRefused
from scoreline.ingest.ingest import ingest_events
from scoreline.operations.report.facts import SeenAgain
from scoreline.operations.report.gather import find_run, gather
from scoreline.operations.report.run_page import verdict_of
from scoreline.pipeline.run import plan_run, run
from scoreline.registry.client import quiet_mlflow
from scoreline.registry.files import download
from scoreline.registry.versions import pin
from scoreline.tables.reading import open_readers
from strangers import held, remake

HOUR = timedelta(hours=1)
SHORT = {"buckets": 8, "max_items": 3}
LISTS = [ColSpec(Array(DataType.long), "item_ids"), ColSpec(Array(DataType.double), "scores")]


def seen(rows: list[tuple[int, int, int, int]]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for user, item, _, _ in rows:
        found.setdefault(user, set()).add(item)
    return found


def test_no_list_has_an_item_ever_seen(pipeline: Any, registry: Any, tmp_path: Path) -> None:
    """Three items are shown to the model, all are left out: of a model logged now, and of one logged before."""
    rows = events_of()
    made = pipeline(histories=SHORT)
    for piece in (1, 0):
        ingest_events(made, write_events(tmp_path / f"{piece}.csv", rows[piece::2]))
    report = run(made)
    assert (report.audit.scored, report.audit.seen) == (60, 0)
    lists = published(made)
    assert lists == _best(made, registry, rows)
    late = [(7, item, 3, 1_600_000_000) for item in lists[7][:2]]
    later = pipeline(histories=SHORT, now=NOW + HOUR)
    ingest_events(later, write_events(tmp_path / "late.csv", late))
    assert plan_run(later).reasons == {"changed": 1}
    run(later)
    assert published(later) == _best(made, registry, rows + late)
    assert published(later)[7] != lists[7]
    before = _logged_before(made, registry, tmp_path / "films")
    old = _with_model(pipeline(histories=SHORT, now=NOW + 2 * HOUR), before)
    run(old)
    assert published(old) == _best(made, registry, rows + late)


def _with_model(made: Any, folder: Path) -> Any:
    model = made.settings.model.model_copy(update={"uri": str(folder)})
    return replace(made, settings=made.settings.model_copy(update={"model": model}))


def _best(made: Any, registry: Any, rows: list[tuple[int, int, int, int]]) -> dict[int, list[int]]:
    """The first five of the longest lists that brute force makes of the windows, without all that was seen."""
    everything = expected(made, registry.films["1"], k=ITEMS)
    return {user: [i for i in everything[user] if i not in items][:5] for user, items in seen(rows).items()}


def _logged_before(made: Any, registry: Any, folder: Path) -> Path:
    """The model with the signature that it had before `older_item_ids`."""
    pinned = pin("models:/films/1", tracking_uri=registry.uri)
    shutil.copytree(download(pinned, registry.folder), folder)
    described = yaml.safe_load((folder / "MLmodel").read_text())
    inputs = json.loads(described["signature"]["inputs"])
    described["signature"]["inputs"] = json.dumps([c for c in inputs if c["name"] != "older_item_ids"])
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    return folder


def _by_user() -> mlflow.pyfunc.PythonModel:
    """Knows users by their ids, not by what they are said to have seen: items 1 to k for everybody."""

    class ByUser(mlflow.pyfunc.PythonModel):  # pickled by value, as no module has it
        def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
            k = (params or {})["k"]
            ids = [list(range(1, k + 1))] * len(model_input)
            return pd.DataFrame({"item_ids": ids, "scores": [[float(-i) for i in range(k)]] * len(model_input)})

    return ByUser()


def test_a_model_that_takes_the_users_id_has_its_seen_items_counted(pipeline: Any, tmp_path: Path) -> None:
    signature = ModelSignature(
        Schema([ColSpec(DataType.long, "user_id")]), Schema(LISTS), ParamSchema([ParamSpec("k", DataType.long, 20)])
    )
    with quiet_mlflow():
        mlflow.pyfunc.save_model(str(tmp_path / "model"), python_model=_by_user(), signature=signature)
    # of the first user item 3 is in the window and 1 beyond it; the second has seen nothing of what comes
    rows = [(1, 1, 3, 1_700_000_000), *((1, item, 3, 1_700_000_001 + item) for item in (3, 30, 31)), (2, 33, 3, 1)]
    made = _with_model(pipeline(histories=SHORT), tmp_path / "model")
    ingest_events(made, write_events(tmp_path / "e.csv", rows))
    with pytest.raises(AuditRefused, match="seen items recommended is 1, expected 0"):
        run(made)
    readers = open_readers(made.settings, made.spark)
    page = gather(readers, run=find_run(readers), now=NOW)
    assert page.seen == SeenAgain(1, ((1, 3),))
    assert verdict_of(page).lines[1] == (
        "1 user is recommended items that they have seen: user 1 item 3. Most likely the model ignores exclude_seen."
    )
    allowed = _with_model(pipeline(histories=SHORT, scoring={"k": 5, "exclude_seen": False}), tmp_path / "model")
    assert run(allowed).audit.seen == 0
    assert published(allowed) == {1: [1, 2, 3, 4, 5], 2: [1, 2, 3, 4, 5]}


def test_a_table_made_before_is_scored_as_it_is(filled: Any, registry: Any) -> None:
    made = filled()
    table = made.tables.table("user_history")
    remake(table, held(table.read().drop("older_item_ids")))
    run(made)
    assert published(made) == expected(made, registry.films["1"], k=5)
