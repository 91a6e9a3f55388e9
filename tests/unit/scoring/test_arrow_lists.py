import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from scoreline.scoring.arrow_lists import common_count


@given(st.data(), st.integers(1, 40))
def test_common_count_agrees_with_sets(data: st.DataObject, n: int) -> None:
    kind, spread = data.draw(st.sampled_from([(pa.int64(), 1), (pa.int64(), 10**17), (pa.int32(), -1), (pa.int8(), 4)]))
    ids = st.lists(st.integers(-30, 30).map(lambda number: number * spread), max_size=12)
    seen = data.draw(st.lists(st.one_of(st.none(), ids), min_size=n, max_size=n))
    found = data.draw(st.lists(ids, min_size=n, max_size=n))
    # slices, as batches that were halved give them
    left, right = (pa.array([[1], *lists], pa.list_(kind)).slice(1) for lists in (seen, found))
    expected = [sum(item in set(s or []) for item in f) for s, f in zip(seen, found, strict=True)]
    assert common_count(left, right).tolist() == expected
