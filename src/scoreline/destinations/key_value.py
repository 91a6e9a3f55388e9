"""DynamoDB, as the example of a key-value store: no transaction over many users, and still no half export.

An item per user and version, `{user_id, version, items, scores, source}`; a pointer item (`user_id` = "*") says which
version is shown. Items of the new version are put first, by the workers, under keys that say it all: a task that runs
twice puts the same items twice. Then the pointer moves. The application reads the newest item of a user that is not
above the pointer, see `read_user`; a user who left has an item without a list.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.destinations.seam import Change
from scoreline.errors import ConfigurationError, RunFailed
from scoreline.schema import RECOMMENDATIONS, USER_ID, Keys

_POINTER = {"user_id": "*", "version": 0}


@dataclass(frozen=True)
class DynamoDestination:
    """One table of DynamoDB, with the partition key `user_id` (S) and the sort key `version` (N)."""

    table: str
    region: str
    endpoint: str | None

    @property
    def shown(self) -> str:
        return f"dynamodb://{self.region}/{self.table}"

    def version(self) -> int | None:
        found = self._asked(lambda table: table.get_item(Key=_POINTER, ConsistentRead=True)).get("Item")
        return int(found["shown"]) if found else None

    def apply(self, change: Change) -> tuple[int, int]:
        if change.everyone and change.previous is not None:
            raise RunFailed(f"{self.shown} shows version {change.previous}, newer than the table: use another table.")
        replaced = self._put(change.lists, change.version)
        empty = F.lit(None).cast(change.lists.schema[RECOMMENDATIONS].dataType)
        gone = change.gone.select(USER_ID, empty.alias(RECOMMENDATIONS), F.lit("").alias("source"))
        removed = self._put(gone, change.version)
        pointer = {**_POINTER, "shown": change.version, "moved_at": int(time.time())}
        self._asked(lambda table: table.put_item(Item=pointer))
        return replaced, removed

    def flip_back(self, *, version: int, content: int) -> int | None:
        return None  # a version that was taken back would come up again under a later pointer: send the old rows anew

    def _put(self, rows: DataFrame, version: int) -> int:
        mapped = rows.mapInArrow(partial(_put_task, self, version), "users long")
        found: Any = mapped.agg(F.sum("users")).first()
        return int(found[0] or 0)

    def _asked(self, question: Any) -> Mapping[str, Any]:
        import botocore.exceptions

        try:
            found: Mapping[str, Any] = question(self.client())
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise RunFailed(f"{self.shown} did not answer as it should, and shows what it showed: {error}") from None
        return found

    def client(self) -> Any:
        import boto3

        return boto3.resource("dynamodb", region_name=self.region, endpoint_url=self.endpoint).Table(self.table)


def read_user(table: Any, user_id: str) -> Mapping[str, Any] | None:
    """What the application does: two reads. None for a user without a list."""
    from boto3.dynamodb.conditions import Key

    shown = table.get_item(Key=_POINTER)["Item"]["shown"]
    asked = Key("user_id").eq(user_id) & Key("version").lte(shown)
    found = table.query(KeyConditionExpression=asked, ScanIndexForward=False, Limit=1)["Items"]
    return found[0] if found and found[0]["items"] else None


def _put_task(to: DynamoDestination, version: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        with to.client().batch_writer() as writer:
            for row in batch.to_pylist():
                writer.put_item(Item=_item(row, version))
        yield pa.RecordBatch.from_pydict({"users": pa.array([batch.num_rows], pa.int64())})


def _item(row: Mapping[str, Any], version: int) -> dict[str, Any]:
    lists = row[RECOMMENDATIONS] or []
    return {
        "user_id": str(row[USER_ID]),
        "version": version,
        "items": [item["item_id"] for item in lists],
        "scores": [Decimal(str(item["score"])) for item in lists],
        "source": row["source"],
    }


def open_dynamodb(url: str, table: str, keys: Keys) -> DynamoDestination:
    """`dynamodb://<region>?endpoint=https://...`; raises ConfigurationError when boto3 is not installed."""
    try:
        import boto3  # noqa: F401
    except ImportError:
        raise ConfigurationError("export.url is DynamoDB, and boto3 is not installed: pip install boto3.") from None
    parts = urlsplit(url)
    if not parts.hostname:
        raise ConfigurationError("export.url names no region: expected dynamodb://eu-central-1.")
    return DynamoDestination(table, parts.hostname, parse_qs(parts.query).get("endpoint", [None])[0])
