import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoreline.errors import InputError
from scoreline.models.search import factors as factor_search
from scoreline.models.search.factors import best_items
from scoreline.models.search.norm_sorted import NormSortedItems
from scoreline.models.topk import TopK
from unit.models.brute_force import as_lists, best_of_all, exact_products, flat, in_order, offsets_of

SHAPES = [
    "power law",
    "flat norms",
    "few distinct",
    "integers",
    "zeros among them",
    "one factor",
    "huge",
    "tiny",
]


def make_factors(shape: str, rng: np.random.Generator, count: int, rank: int) -> np.ndarray:
    vectors = rng.normal(size=(count, rank)).astype(np.float32)
    if shape == "power law":
        vectors *= (np.arange(1, count + 1)[:, None] ** -0.8).astype(np.float32)
    elif shape == "flat norms":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    elif shape == "few distinct":
        vectors = vectors[rng.integers(0, min(3, count), count)]
    elif shape == "integers":
        vectors = np.rint(vectors).astype(np.float32)
    elif shape == "zeros among them":
        vectors[rng.random(count) < 0.6] = 0
    elif shape == "one factor":
        vectors[:, 1:] = 0
    else:
        vectors *= np.float32(1e15 if shape == "huge" else 1e-30)
    return vectors


def make_seen(rng: np.random.Generator, users: int, items: int) -> list[np.ndarray]:
    share = rng.choice([0.0, 0.1, 0.5, 0.98, 1.0], users)
    return [rng.permutation(np.flatnonzero(rng.random(items + 1) < p) - 1).astype(np.int32) for p in share]


def search(factors: np.ndarray, users: np.ndarray, seen: list[np.ndarray], k: int, **knobs: np.ndarray) -> TopK:
    return best_items(
        NormSortedItems.from_factors(factors),
        users,
        seen_offsets=offsets_of(seen),
        seen_items=flat(seen),
        k=k,
        **knobs,
    )


@settings(max_examples=800, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(SHAPES),
    count=st.sampled_from([1, 2, 7, 40, 130, 400]),
    users=st.sampled_from([1, 3, 17]),
    rank=st.sampled_from([1, 3, 16]),
    k=st.sampled_from([1, 2, 10, 50, 1000]),
    share=st.sampled_from([None, 0.0, 0.05, 0.5, 1.0]),
    small_tiles=st.booleans(),
)
def test_lists_are_those_of_brute_force(
    *,
    seed: int,
    shape: str,
    count: int,
    users: int,
    rank: int,
    k: int,
    share: float | None,
    small_tiles: bool,
) -> None:
    rng = np.random.default_rng(seed)
    factors, vectors = make_factors(shape, rng, count, rank), make_factors(shape, rng, users, rank)
    seen = make_seen(rng, users, count)
    eligible = None if share is None else rng.random(count) < share
    with pytest.MonkeyPatch.context() as patch:
        if small_tiles:
            patch.setattr(factor_search, "_TILE_ITEMS", 8)
            patch.setattr(factor_search, "_MOST_TILE_ITEMS", 16)
            patch.setattr(factor_search, "_BLOCK_CELLS", 64)
            patch.setattr(factor_search, "_BATCH_USERS", 5)
            patch.setattr(factor_search, "_MOST_CANDIDATES", 40)
        found = search(factors, vectors, seen, k, eligible=eligible)
    truth = exact_products(vectors, factors)
    wanted = best_of_all(truth, seen=seen, k=k, eligible=eligible)
    assert as_lists(found) == [own if user.any() else [] for own, user in zip(wanted, vectors, strict=True)]
    assert in_order(found)
    user_of = np.repeat(np.arange(users), found.lengths)
    np.testing.assert_allclose(found.scores, truth[user_of, found.items], rtol=1e-6, atol=1e-44)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=st.sampled_from(SHAPES), k=st.sampled_from([1, 10, 100]))
def test_a_user_gets_the_same_bits_in_any_company(seed: int, shape: str, k: int) -> None:
    rng = np.random.default_rng(seed)
    factors, vectors = make_factors(shape, rng, 700, 24), make_factors(shape, rng, 30, 24)
    seen = make_seen(rng, 30, 700)
    whole = search(factors, vectors, seen, k)
    order = rng.permutation(30)
    shuffled = search(factors, vectors[order], [seen[user] for user in order], k)
    back = shuffled.take(np.argsort(order))
    assert np.array_equal(back.items, whole.items)
    assert np.array_equal(back.scores.view(np.int32), whole.scores.view(np.int32))
    for user in range(0, 30, 7):
        alone = search(factors, vectors[[user]], [seen[user]], k)
        own = whole.take(np.array([user]))
        assert np.array_equal(alone.items, own.items)
        assert np.array_equal(alone.scores.view(np.int32), own.scores.view(np.int32))


def test_masses_of_ties_are_settled_by_item_id() -> None:
    factors = np.ones((20_000, 4), dtype=np.float32)
    factors[::1000] *= 0.5
    users = np.ones((6, 4), dtype=np.float32)
    seen = [np.arange(u, dtype=np.int32) for u in range(6)]
    found = search(factors, users, seen, 10)
    assert as_lists(found) == best_of_all(exact_products(users, factors), seen=seen, k=10)


def test_neighbours_within_float32_rounding_are_told_apart_as_far_as_their_published_scores_differ() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=64).astype(np.float32)
    factors = np.tile(base, (5000, 1))
    # Neighbouring floats in one coordinate: a float32 product cannot tell these items apart. Float64 can, but what is
    # published of most is the same number: those are ties, for whoever reads the table.
    factors[:, 7] = np.nextafter(base[7], np.float32(9)) * rng.choice([1, 1 + 2**-23, 1 + 2**-22], 5000)
    users = rng.normal(size=(20, 64)).astype(np.float32)
    seen = make_seen(rng, 20, 5000)
    found = search(factors, users, seen, 15)
    assert as_lists(found) == best_of_all(exact_products(users, factors), seen=seen, k=15)
    assert in_order(found)


def test_more_than_a_thousand_places() -> None:
    rng = np.random.default_rng(1)
    factors, users = make_factors("power law", rng, 9000, 8), make_factors("flat norms", rng, 5, 8)
    seen = [rng.choice(9000, size, replace=False).astype(np.int32) for size in (0, 10, 4000, 8999, 9000)]
    found = search(factors, users, seen, 1000)
    assert as_lists(found) == best_of_all(exact_products(users, factors), seen=seen, k=1000)
    assert found.lengths.tolist() == [1000, 1000, 1000, 1, 0]


def test_history_longer_than_a_batch_may_hold() -> None:
    rng = np.random.default_rng(2)
    factors, users = make_factors("power law", rng, 300, 8), make_factors("flat norms", rng, 4, 8)
    seen = [np.arange(n, dtype=np.int32) for n in (290, 0, 299, 10)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor_search, "_BATCH_EVENTS", 20)
        found = search(factors, users, seen, 5)
    assert as_lists(found) == best_of_all(exact_products(users, factors), seen=seen, k=5)


def test_no_users_no_items_no_places() -> None:
    factors = np.ones((3, 2), dtype=np.float32)
    none = np.zeros((0, 2), dtype=np.float32)
    assert len(search(factors, none, [], 5)) == 0
    assert as_lists(search(none, factors, [np.array([-1])] * 3, 5)) == [[], [], []]
    assert as_lists(search(factors, factors, [np.array([])] * 3, 0)) == [[], [], []]


def test_users_that_are_no_numbers_are_refused() -> None:
    factors = np.ones((3, 2), dtype=np.float32)
    with pytest.raises(InputError, match="user's vector is not finite"):
        search(factors, np.full((1, 2), np.inf, np.float32), [np.array([])], 1)
