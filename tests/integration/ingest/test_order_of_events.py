"""Histories made of events directly: what the order of rows and files must not decide."""

from datetime import UTC, datetime
from itertools import permutations

from pyspark.sql import SparkSession

from builders import NOW
from scoreline.ingest.histories import histories

AT = datetime(2026, 1, 2, tzinfo=UTC)
COLUMNS = "user_id long, item_id long, weight float, event_at timestamp"


def test_events_of_one_moment_are_in_the_order_of_their_items_however_they_come(spark: SparkSession) -> None:
    # of one item at one moment the greatest weight counts
    events = [(1, 30, 1.0, AT), (1, 10, 2.0, AT), (1, 20, 5.0, AT), (1, 20, 3.0, AT)]
    orders = [[(number, *event[1:]) for event in order] for number, order in enumerate(permutations(events))]
    rows = spark.createDataFrame([event for order in orders for event in order], COLUMNS)

    def found(max_items: int) -> set[tuple[object, ...]]:
        made = histories(rows, max_items=max_items, buckets=4, now=NOW, partitions=2).collect()
        assert len(made) == len(orders)
        return {(*row.item_ids, *row.weights, *(row.older_item_ids or ()), row.history_hash) for row in made}

    (whole,) = found(3)
    (cut,) = found(2)
    assert whole[:-1] == (10, 20, 30, 2.0, 5.0, 1.0)
    assert cut[:-1] == (20, 30, 5.0, 1.0, 10)
