import math
from collections.abc import Callable
from typing import Any

import pytest

from scoreline_fraud.serving.transactions import Transaction, parse, safe_id

Payment = Callable[..., dict[str, Any]]


def test_a_whole_number_is_an_amount(payment: Payment) -> None:
    found = parse(payment(amount=5))
    assert isinstance(found, Transaction)
    assert found.amount == 5.0


def test_times_of_other_zones_become_utc(payment: Payment) -> None:
    found = parse(payment(occurred_at="2026-03-10T01:30:00+02:00"))
    assert isinstance(found, Transaction)
    assert found.occurred_at.isoformat() == "2026-03-09T23:30:00+00:00"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", None),
        ("amount", math.nan),
        ("amount", math.inf),
        ("amount", "12.5"),
        ("amount", True),
        ("amount", -5),
        ("amount", 10**400),
        ("card_count_24h", 3.7),
        ("card_count_24h", 10**30),
        ("card_count_24h", -1),
        ("card_amount_24h", math.nan),
        ("occurred_at", 1_700_000_000),
        ("occurred_at", "2026-03-10"),
        ("occurred_at", "2026-03-10T12:00:00"),
        ("occurred_at", "2026-13-10T12:00:00Z"),
        ("occurred_at", "2026-03-10T99:00:00Z"),
        ("occurred_at", "0001-01-01T00:00:00+23:59"),
        ("card_id", ""),
        ("card_id", "a\n"),
        ("card_id", "\ud800"),
        ("card_id", 17),
        ("terminal_id", "x" * 65),
        ("transaction_id", ["t-1"]),
        ("transaction_id", ...),
    ],
)
def test_what_is_no_transaction_is_named_by_its_field(payment: Payment, field: str, value: object) -> None:
    assert parse(payment(**{field: value})) == (f"invalid:{field}",)


def test_an_unknown_field_is_refused_and_not_named(payment: Payment) -> None:
    assert parse(payment(pan="4111111111111111")) == ("invalid:unknown_field",)


@pytest.mark.parametrize("row", [None, 1, "x", [], [{}], True])
def test_what_is_no_object_is_refused(row: object) -> None:
    assert parse(row) == ("invalid:not_an_object",)


@pytest.mark.parametrize("value", ["<b>", "a b", "x" * 65, "a\n", "", 5, None])
def test_only_a_well_formed_id_is_repeated(value: object) -> None:
    assert safe_id({"transaction_id": value}) is None
