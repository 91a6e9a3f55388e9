"""The same job with tables in a schema of a catalogue instead of a folder."""

from typing import Any

import pytest

from builders import NOW, write_events
from integration.conftest import events_of
from integration.truth import expected, published
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import run

pytestmark = pytest.mark.spark  # a catalogue needs it


@pytest.mark.long
def test_a_schema_of_a_catalogue_serves_like_a_folder(pipeline: Any, registry: Any, spark: Any, tmp_path: Any) -> None:
    spark.sql("CREATE DATABASE odd_name")
    place = {"catalog": "spark_catalog.odd_name"}
    try:
        made = pipeline(tables=place)
        ingest_events(made, write_events(tmp_path / "e.csv", events_of()))
        first = run(made)
        assert published(made) == expected(made, registry.films["1"], k=5)
        ingest_events(made, write_events(tmp_path / "n.csv", [(7, 33, 5, 1_780_000_000)]))
        second = run(pipeline(tables=place, now=NOW.replace(hour=4)))
        assert second.reasons == {"changed": 1}
        assert published(made) == expected(made, registry.films["1"], k=5)
        assert roll_back(pipeline(tables=place, now=NOW.replace(hour=5))).run_id == first.run_id
        assert made.tables.names("_staging_") == []
    finally:
        spark.sql("DROP DATABASE odd_name CASCADE")
