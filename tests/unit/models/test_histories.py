from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreline.errors import InputError
from scoreline.models.histories import Histories
from scoreline.models.item_index import ItemIndex

CATALOGUE = ItemIndex.from_ids(pa.array([10, 20, 30]))
ROWS = st.lists(
    st.none() | st.lists(st.sampled_from([10, 20, 30, 99, None]), max_size=5),
    min_size=1,
    max_size=12,
)


def as_lists(histories: Histories) -> list[list[int]]:
    return [histories.items[a:b].tolist() for a, b in zip(histories.offsets, histories.offsets[1:], strict=False)]


def expected(rows: list[list[int | None] | None]) -> list[list[int]]:
    place = {10: 0, 20: 1, 30: 2}
    return [[place.get(item, -1) if item else -1 for item in row or []] for row in rows]


@given(rows=ROWS, cut=st.integers(0, 12), large=st.booleans())
def test_rows_survive_slices_nulls_and_list_types(rows: list[list[int] | None], cut: int, large: bool) -> None:
    kind = pa.large_list(pa.int64()) if large else pa.list_(pa.int64())
    column = pa.array(rows, kind).slice(cut)
    histories = Histories.from_arrow(column, None, CATALOGUE)
    assert as_lists(histories) == expected(rows[cut:])
    assert histories.weights.tolist() == [1.0] * len(histories.items)


@given(rows=ROWS, cut=st.integers(0, 12))
def test_chunked_columns_count_as_one(rows: list[list[int] | None], cut: int) -> None:
    kind = pa.list_(pa.int64())
    column = pa.chunked_array([pa.array(rows[:cut], kind), pa.array(rows[cut:], kind)])
    assert as_lists(Histories.from_arrow(column, None, CATALOGUE)) == expected(rows)


def test_null_list_that_owns_values_is_empty() -> None:
    column = pa.ListArray.from_arrays(
        pa.array([0, 1, 3, 4], pa.int32()), pa.array([10, 20, 20, 30]), mask=pa.array([False, True, False])
    )
    assert as_lists(Histories.from_arrow(column, None, CATALOGUE)) == [[0], [], [2]]


@given(rows=ROWS, older=ROWS, cut=st.integers(0, 12))
def test_all_that_was_seen_is_the_history_and_what_was_before_it(
    rows: list[list[int] | None], older: list[list[int] | None], cut: int
) -> None:
    kind, both = pa.list_(pa.int64()), min(len(rows), len(older))
    shown, before = pa.array(rows[:both], kind).slice(cut), pa.array(older[:both], kind).slice(cut)
    histories = Histories.from_arrow(shown, None, CATALOGUE, before)
    assert as_lists(histories) == expected(rows[:both][cut:])
    wanted = [a + b for a, b in zip(expected(rows[:both][cut:]), expected(older[:both][cut:]), strict=True)]
    assert _excluded(histories) == wanted
    count = len(histories)
    assert _excluded(histories.slice(count // 2, count)) == wanted[count // 2 :]
    assert _excluded(histories.take(np.arange(count)[::-1])) == wanted[::-1]


def _excluded(histories: Histories) -> list[list[int]]:
    offsets, items = histories.excluded(exclude_seen=True)
    return [items[a:b].tolist() for a, b in pairwise(offsets)]


def test_weights_stay_beside_their_items() -> None:
    items = pa.array([[10], [20, 99], None, [30]])
    weights = pa.array([[9.0], [2.0, 3.0], None, [None]], pa.list_(pa.float64()))
    histories = Histories.from_arrow(items.slice(1), weights.slice(1), CATALOGUE)
    assert histories.weights.tolist() == [2.0, 3.0, 1.0]
    assert histories.offsets.tolist() == [0, 2, 2, 3]


def test_slice_and_users() -> None:
    histories = Histories.from_arrow(pa.array([[10], [20, 30], [], [10]]), None, CATALOGUE)
    assert histories.users.tolist() == [0, 1, 1, 3]
    assert as_lists(histories.slice(1, 3)) == [[1, 2], []]


def test_fixed_size_lists_and_untyped_nulls() -> None:
    assert as_lists(Histories.from_arrow(pa.array([[10, 20]], pa.list_(pa.int64(), 2)), None, CATALOGUE)) == [[0, 1]]
    assert as_lists(Histories.from_arrow(pa.nulls(2), pa.nulls(2), CATALOGUE)) == [[], []]


def test_weights_of_another_length_name_the_row() -> None:
    items, weights = pa.array([[10], [20, 30]]), pa.array([[1.0], [1.0]])
    with pytest.raises(InputError, match="row 1 of the batch has 2 item_ids and 1 weights"):
        Histories.from_arrow(items, weights, CATALOGUE)


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(weight: float) -> None:
    with pytest.raises(InputError, match="weights have to be finite"):
        Histories.from_arrow(pa.array([[10]]), pa.array([[weight]]), CATALOGUE)


def test_column_of_another_type_is_refused() -> None:
    with pytest.raises(InputError, match="column item_ids has type int64"):
        Histories.from_arrow(pa.array([10]), None, CATALOGUE)
    with pytest.raises(InputError, match="weights have type string"):
        Histories.from_arrow(pa.array([[10]]), pa.array([["x"]]), CATALOGUE)
