import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreline.errors import InputError
from scoreline.models.item_index import ItemIndex

longs = st.one_of(st.integers(-50, 50), st.integers(-(2**63), 2**63 - 1), st.integers(2**63 - 9, 2**63 - 1))
strings = st.text(alphabet="0aZé𝄞'\"", max_size=4)


@given(known=st.lists(longs, max_size=30), asked=st.lists(st.none() | longs, max_size=30))
def test_longs_find_their_place_in_ascending_order(known: list[int], asked: list[int | None]) -> None:
    catalogue = ItemIndex.from_ids(pa.array(known, pa.int64()))
    place = {item: index for index, item in enumerate(sorted(set(known)))}
    found = catalogue.index_of(pa.array([None, *known, *asked], pa.int64()).slice(1))
    assert found.tolist() == [place.get(item, -1) for item in [*known, *asked]]


@given(known=st.lists(strings, max_size=30), asked=st.lists(st.none() | strings, max_size=30))
def test_strings_find_their_place_in_byte_order(known: list[str], asked: list[str | None]) -> None:
    catalogue = ItemIndex.from_ids(pa.array(known, pa.string()))
    place = {item: index for index, item in enumerate(sorted(set(known), key=str.encode))}
    found = catalogue.index_of(pa.array(asked, pa.string()))
    assert found.tolist() == [place.get(item, -1) for item in asked]


@pytest.mark.parametrize("ids", [[3, 1, 2], [5, 10**15], ["b", "", "ä'\""], []])
def test_saved_arrays_bring_the_catalogue_back(ids: list[object], tmp_path: object) -> None:
    kind = pa.string() if not ids or isinstance(ids[0], str) else pa.int64()
    catalogue = ItemIndex.from_ids(pa.array(ids, kind))
    again = ItemIndex.from_arrays(catalogue.arrays())
    assert again.ids.equals(catalogue.ids)
    assert again.index_of(catalogue.ids).tolist() == list(range(len(ids)))


def test_sliced_string_ids_are_saved_without_their_neighbours() -> None:
    catalogue = ItemIndex(pa.array(["a", "bb", "ccc", "d"]).slice(1, 2))
    assert ItemIndex.from_arrays(catalogue.arrays()).ids.to_pylist() == ["bb", "ccc"]


def test_leading_zeros_make_another_id() -> None:
    catalogue = ItemIndex.from_ids(pa.array(["0110912"]))
    assert catalogue.index_of(pa.array(["110912", "0110912"])).tolist() == [-1, 0]


@pytest.mark.parametrize("kind", [pa.int32(), pa.int16(), pa.uint8()])
def test_narrow_integers_are_longs(kind: pa.DataType) -> None:
    catalogue = ItemIndex.from_ids(pa.array([7, 9], pa.int64()))
    assert catalogue.index_of(pa.array([9, 8], kind)).tolist() == [1, -1]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_every_string_type_is_a_string(kind: pa.DataType) -> None:
    catalogue = ItemIndex.from_ids(pa.array(["a", "b"]))
    assert catalogue.index_of(pa.array(["b", "c", None]).cast(kind)).tolist() == [1, -1, -1]


def test_ids_of_the_other_kind_are_refused() -> None:
    catalogue = ItemIndex.from_ids(pa.array([1, 2]))
    with pytest.raises(InputError, match="item ids are strings, but the model was trained on longs"):
        catalogue.index_of(pa.array(["1"]))
    with pytest.raises(InputError, match="type double"):
        catalogue.index_of(pa.array([1.0]))


def test_nulls_without_a_type_are_unknown() -> None:
    catalogue = ItemIndex.from_ids(pa.array(["a"]))
    assert catalogue.index_of(pa.nulls(2)).tolist() == [-1, -1]


def test_ids_come_back_in_the_order_asked() -> None:
    catalogue = ItemIndex.from_ids(pa.array([30, 10, 20]))
    assert catalogue.ids_of(np.array([2, 0, 0])).to_pylist() == [30, 10, 10]
