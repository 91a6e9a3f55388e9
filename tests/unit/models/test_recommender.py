import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from scoreline.config.model import EstimatorName
from scoreline.errors import InputError
from scoreline.models import artifacts
from scoreline.models.artifacts import load, save
from scoreline.models.recommender import Recommender
from scoreline.registry.client import quiet_mlflow
from scoreline.registry.files import download
from scoreline.registry.versions import pin
from unit.models.fitted import ITEMS, fitted_model

EVERY = get_args(EstimatorName)


@pytest.fixture(params=EVERY)
def recommender(request: pytest.FixtureRequest, tmp_path: Path) -> Recommender:
    return loaded(request.param, tmp_path)


def loaded(estimator: str, folder: Path, key: str = "long") -> Recommender:
    save(fitted_model(estimator, key), folder / "model")
    found = Recommender()
    found.load_context(context=SimpleNamespace(artifacts={artifacts.NAME: str(folder / "model")}))
    return found


def batch(*rows: list[object] | None, key: pa.DataType | None = None) -> pa.RecordBatch:
    items = pa.array(rows, pa.list_(key or pa.int64()))
    weights = pa.array([None if row is None else [4.0] * len(row) for row in rows], pa.list_(pa.float32()))
    return pa.RecordBatch.from_arrays([items, weights], ["item_ids", "weights"])


def test_every_user_gets_k_unseen_items_best_first(recommender: Recommender) -> None:
    answer = recommender.predict_arrow(batch([100, 101], [105], list(range(100, 120))), {"k": 5})
    assert answer.schema.types == [pa.list_(pa.int64()), pa.list_(pa.float32()), pa.string()]
    lists = zip(answer.column("item_ids").to_pylist(), answer.column("scores").to_pylist(), strict=True)
    for seen, (found, scores) in zip(([100, 101], [105], range(100, 120)), lists, strict=True):
        assert len(found) == len(set(found)) == min(5, ITEMS - len(seen))
        assert not set(found) & set(seen)
        assert scores == sorted(scores, reverse=True)


def test_a_list_is_sorted_by_what_it_shows(recommender: Recommender) -> None:
    """Score descending, then item id, down to the last item of the catalogue: related, completed and fallback ones."""
    answer = recommender.predict_arrow(batch([100, 101], [105, 111, 119], [], None), {"k": ITEMS})
    for found, scores in zip(answer.column("item_ids").to_pylist(), answer.column("scores").to_pylist(), strict=True):
        shown = list(zip([-score for score in scores], found, strict=True))
        assert shown == sorted(shown)


def test_items_seen_before_the_history_do_not_come_and_count_for_nothing_else(recommender: Recommender) -> None:
    """The lists are those of the same history, longest possible, without the older items; fallbacks included."""
    rows, older = [[100, 101], [105], None, [110]], [[102, 103, 999], None, [104], list(range(100, 110))]
    asked = batch(*rows).append_column("older_item_ids", pa.array(older, pa.list_(pa.int64())))
    everything = recommender.predict_arrow(batch(*rows), {"k": ITEMS}).column("item_ids").to_pylist()
    answer = recommender.predict_arrow(asked, {"k": 5})
    wanted = [[i for i in row if i not in (out or ())][:5] for row, out in zip(everything, older, strict=True)]
    assert answer.column("item_ids").to_pylist() == wanted
    frame = asked.to_pandas()
    assert [list(row) for row in recommender.predict(None, frame, {"k": 5})["item_ids"]] == wanted
    shown = recommender.predict_arrow(asked, {"k": ITEMS, "exclude_seen": False}).column("item_ids").to_pylist()
    assert all(set(row) >= set(range(100, 100 + ITEMS)) for row in shown)


def test_cold_user_gets_popular_items(recommender: Recommender) -> None:
    answer = recommender.predict_arrow(batch([], None, [999], [None]), {"k": 3})
    popular = fitted_model("popularity").popularity
    best = [100 + int(item) for item in popular.order_[:3]]
    assert answer.column("item_ids").to_pylist() == [best] * 4
    assert answer.column("scores").to_pylist()[0] == popular.popularity_[popular.order_[:3]].tolist()
    if type(recommender.scorer.model.estimator).__name__ != "Popularity":
        assert answer.column("source").to_pylist() == ["fallback"] * 4


def test_rules_hold_for_model_and_fallback(recommender: Recommender) -> None:
    params = {"k": 4, "allowed_items": list(range(100, 110)), "blocked_items": [103, 104]}
    for found in recommender.predict_arrow(batch([100, 101], [], [120]), params).column("item_ids").to_pylist():
        assert len(found) == 4
        assert set(found) <= set(range(100, 110)) - {103, 104}


def test_seen_items_come_back_when_asked_for(recommender: Recommender) -> None:
    answer = recommender.predict_arrow(batch([100]), {"k": ITEMS, "exclude_seen": False})
    assert sorted(answer.column("item_ids").to_pylist()[0]) == list(range(100, 100 + ITEMS))


def test_everything_seen_leaves_an_empty_list(recommender: Recommender) -> None:
    answer = recommender.predict_arrow(batch(list(range(100, 100 + ITEMS))), {})
    assert answer.column("item_ids").to_pylist() == [[]]


def test_unknown_allowed_items_allow_nothing(recommender: Recommender) -> None:
    answer = recommender.predict_arrow(batch([100], []), {"allowed_items": [5]})
    assert answer.column("item_ids").to_pylist() == [[], []]


def test_rules_may_change_between_batches(recommender: Recommender) -> None:
    first = recommender.predict_arrow(batch([100]), {"k": 2, "blocked_items": [101]})
    other = recommender.predict_arrow(batch([100]), {"k": 2, "blocked_items": np.array([110])})
    again = recommender.predict_arrow(batch([100]), {"k": 2, "blocked_items": [101]})
    assert first.equals(again)
    assert 110 not in other.column("item_ids").to_pylist()[0]


def test_a_batch_may_be_cut_anywhere(recommender: Recommender) -> None:
    rng = np.random.default_rng(7)
    rows = [rng.choice(np.arange(95, 124), size, replace=False).tolist() for size in rng.integers(0, 9, 40)]
    whole = recommender.predict_arrow(batch(*rows), {"k": 6})
    parts = [recommender.predict_arrow(batch(*rows).slice(at, 7), {"k": 6}) for at in range(0, 40, 7)]
    assert pa.Table.from_batches(parts).combine_chunks().to_batches()[0].equals(whole)


def test_pandas_gives_what_arrow_gives(recommender: Recommender) -> None:
    rows = batch([100, 101], [], [120])
    frame = rows.to_pandas().set_index(pd.Index([7, 8, 9]))
    answer = recommender.predict(None, frame, {"k": 3})
    assert answer.index.tolist() == [7, 8, 9]
    expected = recommender.predict_arrow(rows, {"k": 3}).to_pydict()
    assert [list(row) for row in answer["item_ids"]] == expected["item_ids"]
    assert answer["source"].tolist() == expected["source"]


def test_weights_are_optional(recommender: Recommender) -> None:
    items = batch([100, 101]).select(["item_ids"])
    assert len(recommender.predict_arrow(items, {"k": 3}).column("item_ids").to_pylist()[0]) == 3


def test_string_ids_keep_their_zeros(tmp_path: Path) -> None:
    found = loaded("latent_factors", tmp_path, key="string")
    answer = found.predict_arrow(batch(["0100", "100"], key=pa.string()), {"k": 2, "blocked_items": ["0101"]})
    assert answer.column("item_ids").type == pa.list_(pa.string())
    assert all(len(item) == 4 and item != "0101" for item in answer.column("item_ids").to_pylist()[0])


@pytest.mark.parametrize(
    ("params", "said"),
    [({"k": 0}, "k is 0"), ({"n": 3}, "param n is not understood"), ({"blocked_items": ["a"]}, "strings")],
)
def test_params_that_make_no_sense_are_refused(params: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        loaded("popularity", tmp_path).predict_arrow(batch([100]), params)


def test_frame_without_histories_is_refused(tmp_path: Path) -> None:
    found = loaded("popularity", tmp_path)
    with pytest.raises(InputError, match="column item_ids is missing; there are user"):
        found.predict(None, pd.DataFrame({"user": [1]}))
    with pytest.raises(InputError, match="no column of lists of int64"):
        found.predict(None, pd.DataFrame({"item_ids": [["a"]]}))


def test_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scoreline model"):
        load(tmp_path)
    save(fitted_model(), tmp_path)
    meta = (tmp_path / "meta.json").read_text()
    (tmp_path / "meta.json").write_text(meta.replace('"format": 1', '"format": 99'))
    with pytest.raises(InputError, match="has format 99"):
        load(tmp_path)


def test_saved_model_has_no_pickle_and_is_mapped(tmp_path: Path) -> None:
    save(fitted_model("latent_factors"), tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy", ".json"}
    vectors = load(tmp_path).estimator.items_.vectors  # type: ignore[attr-defined]
    assert isinstance(vectors.base, np.memmap)


def test_an_estimator_does_not_overwrite_the_fallback_by_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted_model("latent_factors")
    theirs = {"popularity_order": model.popularity.order_[::-1]}
    monkeypatch.setattr(type(model.estimator), "arrays", lambda _: theirs)
    with pytest.raises(ValueError, match="latent_factors: arrays\\(\\) has another popularity_order"):
        save(model, tmp_path)


LOAD = """
import sys
import mlflow, pandas as pd, pyarrow as pa
model = mlflow.pyfunc.load_model(sys.argv[1])
inner = model.unwrap_python_model()
items = pa.array([["0100", "0101"], []])
print(inner.predict_arrow(pa.RecordBatch.from_arrays([items], ["item_ids"]), {"k": 2}).to_pydict())
params = {"k": 3, "allowed_items": ["0102", "0103"]}
frame = model.predict(pd.DataFrame({"item_ids": [["0100"]]}), params=params)
assert "scoreline" not in sys.modules
print(sorted(frame["item_ids"][0]), *{m.__file__ for n, m in sys.modules.items() if n.startswith("scoreline_model_")})
"""


def test_logged_model_loads_where_scoreline_is_not_installed(store: str, tmp_path: Path) -> None:
    folder = str(download(pin("models:/movies/2", tracking_uri=store), tmp_path))
    with quiet_mlflow():
        model = mlflow.pyfunc.load_model(folder)
        frame = pd.DataFrame({"item_ids": [["0100"]], "weights": [[1.0]]})
        assert len(model.predict(frame, params={"k": 3})["item_ids"][0]) == 3
    bare = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MLFLOW_REGISTRY_URI")}
    # -S leaves out site-packages and the package installed there; the others come back by their folder.
    site = [path for path in sys.path if path.endswith("site-packages")]
    command = [sys.executable, "-S", "-c", LOAD, folder]
    done = subprocess.run(
        command,
        env={**bare, "PYTHONPATH": site[0]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "'source': ['model', 'fallback']" in done.stdout
    assert "['0102', '0103']" in done.stdout
    assert str(Path(folder) / "code") in done.stdout
