"""DynamoDB, as the example of a key-value store: no transaction over many users, and still no half export.

Each export has a number, which it draws as it begins and which is never used again. It puts an item per user whose list
changed, `{user_id, export_id, items, scores, source}` (`gone` instead of a list for a user who left), from the workers,
under keys that say it all: a task that runs twice puts the same items twice. Then it moves the pointer, on condition
that it still says what the export builds on. `scoreline.export.destinations.pointer` says which items a pointer shows.

At the end items that no reader needs any more are removed: those that the pointer does not show, nor the one before it
did, for readers who have read that a moment ago. This reads the whole table, in parallel: half a read unit per 4 KB.
With lists of 1 KB that is a fortieth of the price of writing everyone once; and each item replaced is a delete more.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
from pyspark.sql import DataFrame

from scoreline.engine.failures import explained
from scoreline.engine.frames import collected
from scoreline.errors import ConfigurationError, RunFailed, ScorelineError, Superseded, told
from scoreline.export.destinations.pointer import KEY, Pointer, pointer_of, stale
from scoreline.export.destinations.protocol import Change, Shown, require_unchanged
from scoreline.export.destinations.rows import COUNTS, GONE, Limits, Sent, fitted, summed, with_gone
from scoreline.tables.names import RECOMMENDATIONS, USER_ID
from scoreline.tables.schema import Keys

log = logging.getLogger(__name__)

_SEGMENTS = 4  # of the table, looked through for old items at once
_LIMITS = Limits(empty_user=False, row_bytes=400 * 1024)


@dataclass(frozen=True)
class DynamoDestination:
    """One table of DynamoDB, with the partition key `user_id` (S) and the sort key `export_id` (N)."""

    table: str
    region: str
    endpoint: str | None

    @property
    def address(self) -> str:
        return f"dynamodb://{self.region}/{self.table}"

    def shown(self) -> Shown | None:
        found = pointer_of(self._item())
        return found.shown if found else None

    def apply(self, change: Change) -> Sent:
        number, old = self._begun()
        require_unchanged(self, self.table, old.shown if old else None, change.previous)
        rows = change.lists if change.everyone else with_gone(change.lists, change.gone)
        counts = rows.select(USER_ID, RECOMMENDATIONS, "source").mapInArrow(
            partial(_put_task, self, number, change.everyone), COUNTS
        )
        sent = summed(collected(counts))
        change.require_wanted()
        new = self._turned(old, number, change)
        self._tidy(new, change.lists)
        return sent

    def flip_back(self, *, previous: Shown, wanted: Shown) -> int | None:
        return None  # the old rows are sent anew

    def _begun(self) -> tuple[int, Pointer | None]:
        """A number that no export had, and the pointer in the same moment, which lists the number as not shown."""
        # the clock, so that numbers go on where they were should somebody have lost the pointer's item
        number = max(int(time.time() * 1000), int(self._item().get("drawn", 0)) + 1)
        found = self._updated(
            "SET drawn = :n ADD unshown :these",
            "attribute_not_exists(drawn) OR drawn < :n",
            {":n": number, ":these": {number}},
        )
        return number, pointer_of(found)

    def _turned(self, old: Pointer | None, number: int, change: Change) -> Pointer:
        """Move the pointer to this export, unless it has been moved since."""
        new = Pointer(
            shown=change.wanted,
            upto=number,
            base=number if change.everyone or old is None else old.base,
            before=old.upto if old else number,
            before_base=old.base if old else number,
            unshown=frozenset(),
        )
        said = new.attributes()
        done = {number} | ({n for n in old.unshown if n < old.base} if old else set())
        found = self._updated(
            "SET " + ", ".join(f"#{name} = :{name}" for name in said) + " DELETE unshown :done",
            "attribute_not_exists(upto)" if old is None else "upto = :old",
            {**{f":{name}": value for name, value in said.items()}, ":done": done}
            | ({} if old is None else {":old": old.upto}),
            {f"#{name}": name for name in said},
        )
        turned = pointer_of(found)
        assert turned is not None
        return turned

    def _updated(
        self, update: str, condition: str, values: Mapping[str, Any], names: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """The pointer's item after a conditional update; raises Superseded if another export came between."""
        import botocore.exceptions

        words = {"ExpressionAttributeNames": names} if names else {}

        def question(table: Any) -> Any:
            try:
                return table.update_item(
                    Key=KEY,
                    UpdateExpression=update,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=values,
                    ReturnValues="ALL_NEW",
                    **words,
                )
            except botocore.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                raise Superseded(
                    f"{self.address}: another export has moved the pointer in the meantime, and what that says is "
                    "shown. Export again."
                ) from None

        found: Mapping[str, Any] = self._asked(question)["Attributes"]
        return found

    def _tidy(self, pointer: Pointer, rows: DataFrame) -> None:
        """Remove what no reader needs; if that fails, readers see what they are to see, and the next export does it."""
        segments = rows.sparkSession.range(0, _SEGMENTS, 1, _SEGMENTS)
        try:
            with explained("old items were not removed"):
                collected(segments.mapInArrow(partial(_tidy_task, self, pointer), "removed long"))
        except ScorelineError as error:
            log.warning("%s: old items are left to the next export: %s", self.address, error)

    def _item(self) -> Mapping[str, Any]:
        answer = self._asked(lambda table: table.get_item(Key=KEY, ConsistentRead=True))
        found: Mapping[str, Any] = answer.get("Item", {})
        return found

    def _asked(self, question: Any) -> Mapping[str, Any]:
        import botocore.exceptions

        try:
            found: Mapping[str, Any] = question(self.client())
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise RunFailed(
                f"{self.address} did not answer as it should, and shows what it showed: {told(error)}"
            ) from None
        return found

    def client(self) -> Any:
        import boto3

        return boto3.resource("dynamodb", region_name=self.region, endpoint_url=self.endpoint).Table(self.table)


def read_user(table: Any, user_id: str) -> Mapping[str, Any] | None:
    """What the application does: two reads. None for a user without a list.

    The pointer may be kept for a while, shorter than the time between two exports. The second read has to be
    consistent: another might miss an item that was there before the pointer moved.
    """
    from boto3.dynamodb.conditions import Key

    pointer = pointer_of(table.get_item(Key=KEY).get("Item", {}))
    if pointer is None:
        return None
    found = table.query(
        KeyConditionExpression=Key("user_id").eq(user_id) & Key("export_id").between(pointer.base, pointer.upto),
        ScanIndexForward=False,
        Limit=len(pointer.unshown) + 1,  # a user has one item of an export at most
        ConsistentRead=True,
    )["Items"]
    newest = next((item for item in found if item["export_id"] not in pointer.unshown), None)
    return newest if newest and newest.get("items") else None


def _put_task(
    to: DynamoDestination, number: int, everyone: bool, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows, counted = fitted(batch, _LIMITS)
        with to.client().batch_writer() as writer:
            for row in rows.to_pylist():
                if row["source"] != GONE or not everyone:
                    writer.put_item(Item=_item(row, number))
        yield counted.batch()


def _item(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    key = {"user_id": str(row[USER_ID]), "export_id": number}
    if row["source"] == GONE:
        return {**key, "gone": True}
    lists = row[RECOMMENDATIONS] or []
    return {
        **key,
        "items": [item["item_id"] for item in lists],
        "scores": [Decimal(str(item["score"])) for item in lists],
        "source": row["source"],
    }


def _tidy_task(to: DynamoDestination, pointer: Pointer, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    table, removed = to.client(), 0
    for segment in (number for batch in batches for number in batch.column("id").to_pylist()):
        with table.batch_writer() as writer:
            for user, items in groupby(_keys(table, segment), key=lambda item: item["user_id"]):
                found = {int(item["export_id"]): "gone" in item for item in items}
                for number in stale(found, pointer):
                    writer.delete_item(Key={"user_id": user, "export_id": number})
                    removed += 1
    yield pa.RecordBatch.from_pydict({"removed": [removed]})


def _keys(table: Any, segment: int) -> Iterator[Mapping[str, Any]]:
    """The keys of a part of the table; a user's items follow each other."""
    asked = {"ProjectionExpression": "user_id, export_id, gone", "Segment": segment, "TotalSegments": _SEGMENTS}
    while True:
        page = table.scan(**asked)
        yield from (item for item in page["Items"] if item["export_id"] != KEY["export_id"])
        if "LastEvaluatedKey" not in page:
            return
        asked["ExclusiveStartKey"] = page["LastEvaluatedKey"]


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
