"""A key-value store shows one version at a time, though it has no transaction over many users."""

from collections.abc import Iterator
from typing import Any

import pytest

from scoreline.destinations import Change
from scoreline.destinations.key_value import DynamoDestination, open_dynamodb, read_user
from scoreline.errors import RunFailed
from scoreline.schema import Keys


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    stand_in = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    stand_in.start()
    host, port = stand_in.get_host_and_port()
    yield f"http://{host}:{port}"
    stand_in.stop()


@pytest.fixture
def destination(endpoint: str) -> DynamoDestination:
    boto3 = pytest.importorskip("boto3")
    client = boto3.client("dynamodb", region_name="eu-central-1", endpoint_url=endpoint)
    client.create_table(
        TableName="lists",
        KeySchema=[{"AttributeName": "user_id", "KeyType": "HASH"}, {"AttributeName": "version", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "user_id", "AttributeType": "S"},
            {"AttributeName": "version", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return open_dynamodb(f"dynamodb://eu-central-1?endpoint={endpoint}", "lists", Keys("long", "long"))


def test_readers_follow_the_pointer(spark: Any, destination: DynamoDestination) -> None:
    fields = "user_id long, recommendations array<struct<item_id: long, score: float>>, source string"

    def change(lists: dict[int, list[int]], gone: list[int], previous: int | None, version: int) -> Change:
        rows = [(user, [(item, 0.5) for item in items], "model") for user, items in lists.items()]
        left = spark.createDataFrame([(user,) for user in gone], "user_id long").coalesce(1)
        made = spark.createDataFrame(rows, fields).coalesce(1)
        return Change(made, left, previous is None, previous, version, version)

    def items(user: int) -> list[int] | None:
        found = read_user(destination.client(), str(user))
        return None if found is None else [int(item) for item in found["items"]]

    assert destination.version() is None
    first = change({1: [10, 11], 2: [20]}, [], None, 1)
    assert destination.apply(first) == (2, 0)
    assert destination.apply(first) == (2, 0)  # the same items again, and no others
    assert (items(1), items(2), destination.version()) == ([10, 11], [20], 1)

    second = change({2: [21], 3: [30]}, [1], 1, 2)
    destination._put(second.lists, 2)  # loaded, and not yet shown
    assert (items(1), items(2), items(3)) == ([10, 11], [20], None)
    assert destination.apply(second) == (2, 1)
    assert (items(1), items(2), items(3), destination.version()) == (None, [21], [30], 2)


def test_a_table_that_is_not_there_is_one_message(endpoint: str) -> None:
    missing = open_dynamodb(f"dynamodb://eu-central-1?endpoint={endpoint}", "nowhere", Keys("long", "long"))
    with pytest.raises(RunFailed, match=r"dynamodb://eu-central-1/nowhere did not answer as it should.*not found"):
        missing.version()
