"""Any MLflow model: a scikit-learn classifier over a table of features."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders import NOW, write_events
from scoreline.engine.frames import collected
from scoreline.errors import InputError, RunFailed
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.run import plan_run, run
from scoreline.registry.client import quiet_mlflow

ROWS = 300
FEATURES = ["age", "spent", "visits"]
HOUR = timedelta(hours=1)


def customers() -> pd.DataFrame:
    dice = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "customer": [f"c{n:04}" for n in range(ROWS)],
            "age": dice.normal(40, 12, ROWS),
            "spent": dice.gamma(2.0, 50.0, ROWS),
            "visits": dice.integers(0, 30, ROWS),
            "city": dice.choice(["Łódź", "Ulm"], ROWS),
        }
    )


@pytest.fixture(scope="module")
def churn(registry: Any) -> Iterator[Any]:
    """Two models in the registry for a while: `churn` gives labels, `churn_odds` two probabilities; the classifier."""
    import mlflow
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    table = customers()
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(table[FEATURES], table["visits"] + table["age"] / 10 < 15)
    with quiet_mlflow():
        mlflow.set_tracking_uri(registry.uri)
        mlflow.set_experiment("models")
        for name, function in (("churn", "predict"), ("churn_odds", "predict_proba")):
            signature = infer_signature(table[FEATURES], getattr(model, function)(table[FEATURES]))
            with mlflow.start_run():
                mlflow.sklearn.log_model(
                    model,
                    name="model",
                    signature=signature,
                    pyfunc_predict_fn=function,
                    registered_model_name=name,
                    skops_trusted_types=["numpy.dtype"],
                )
    yield model
    # the registry is that of other tests, too
    for name in ("churn", "churn_odds"):
        mlflow.MlflowClient(registry.uri).delete_registered_model(name)


@pytest.fixture
def shop(pipeline: Any, churn: Any, spark: Any, tmp_path: Path) -> Any:
    """A pipeline over the table of customers; `shop.write(frame)` replaces that."""
    place = str(tmp_path / "features")

    class Shop:
        def __call__(self, model: str = "churn/1", **changes: Any) -> Any:
            features = {"input": {"path": place, "key": "customer"}, "keys": {"user_id": "string"}}
            return pipeline(model, **(features | changes))

        def write(self, frame: pd.DataFrame) -> None:
            writer = spark.createDataFrame(frame.to_dict("records")).write.format("delta").mode("overwrite")
            writer.option("overwriteSchema", "true").save(place)

    made = Shop()
    made.write(customers())
    return made


def predictions(made: Any) -> pd.DataFrame:
    frame = collected(made.tables.table("predictions").read()).to_pandas()
    return frame.sort_values("user_id", ignore_index=True)


@pytest.mark.both
def test_predictions_are_those_of_the_model_row_for_row(shop: Any, churn: Any) -> None:
    report = run(shop())
    assert (report.state, report.audit.scored, report.audit.failed) == ("published", ROWS, 0)
    found, table = predictions(shop()), customers()
    assert found["user_id"].tolist() == table["customer"].tolist()
    assert found["prediction"].tolist() == churn.predict(table[FEATURES]).tolist()
    assert set(found["prediction"]) == {True, False}
    assert set(found["source"]) == {"model"}


def test_an_output_of_two_columns_becomes_two_columns(shop: Any, churn: Any) -> None:
    run(shop("churn_odds/1"))
    found = predictions(shop())[["prediction_0", "prediction_1"]].to_numpy()
    np.testing.assert_allclose(found, churn.predict_proba(customers()[FEATURES]), rtol=1e-12)


def test_a_model_of_another_kind_than_what_is_published_is_refused(shop: Any, pipeline: Any, tmp_path: Path) -> None:
    run(shop())
    films = pipeline("films/1", now=NOW + HOUR)
    ingest_events(films, write_events(tmp_path / "events.csv", [(1, 2, 5, 1_700_000_000)]))
    with pytest.raises(InputError, match=r"films version 1 makes recommendations, .* test has published predictions"):
        run(films)
    assert not films.tables.table("recommendations").exists()
    assert run(pipeline("films/1", name="lists", now=NOW + HOUR)).audit.scored == 1


@pytest.mark.both
def test_only_changed_rows_are_scored_again(shop: Any, churn: Any) -> None:
    run(shop())
    assert run(shop(now=NOW + HOUR)).state == "nothing_due"
    news = customers()
    news.loc[[5, 6], "visits"] = [0, 29]
    news.loc[7, "city"] = "Paris"  # the model does not look at it
    news = pd.concat([news.drop(index=9), news.iloc[[0]].assign(customer="new one")])
    shop.write(news)
    report = run(shop(now=NOW + 2 * HOUR))
    assert report.reasons == {"new": 1, "changed": 2, "left": 1}
    found, table = predictions(shop()), news.sort_values("customer")
    assert found["user_id"].tolist() == table["customer"].tolist()
    assert found["prediction"].tolist() == churn.predict(table[FEATURES]).tolist()
    assert set(found.loc[found["run_id"] == report.run_id, "user_id"]) == {"c0005", "c0006", "new one"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="spent"), r"the model wants a column spent \(double\); the table has"),
        (lambda f: f.assign(age=f["age"].astype(str)), "the model wants column age as double, the table has string"),
        (
            lambda f: f.rename(columns={"customer": "client"}),
            "key customer is not a column; there are age, city, client",
        ),
        (lambda f: f.assign(customer=range(len(f))), "key customer is bigint, and keys.user_id says string"),
        (lambda f: f.assign(bucket=1), "scoreline needs the name of its column bucket for itself"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_before_a_row_is_read(
    shop: Any, monkeypatch: Any, change: Any, message: str
) -> None:
    from scoreline.pipeline import due_users

    shop.write(change(customers()))
    monkeypatch.setattr(due_users, "due_users", lambda *a: pytest.fail("rows were read"))
    with pytest.raises(InputError, match=message):
        plan_run(shop())
    assert not shop().tables.table("predictions").exists()


@pytest.mark.parametrize("sample_users", [20_000, 10])
def test_a_customer_who_is_there_twice_is_refused_until_the_table_is_mended(shop: Any, sample_users: int) -> None:
    shop.write(pd.concat([customers(), customers().iloc[[3]]]))
    made = shop(audit={"sample_users": sample_users})
    with pytest.raises(InputError, match=r"key 'c0003' is in 2 rows"):
        run(made)
    assert made.tables.names("_staging_") == []
    assert predictions(made).empty
    shop.write(customers())
    assert run(shop(now=NOW + HOUR)).audit.scored == ROWS


def test_no_table_of_features_says_where_it_was_looked_for(shop: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no Delta table here"):
        run(shop(input={"path": str(tmp_path / "elsewhere"), "key": "customer"}))


def test_files_without_versions_that_change_are_not_taken_up_and_not_published(
    shop: Any, churn: Any, spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run dies after it has staged, and the files are written anew; then they change while a run reads them."""
    from scoreline.pipeline import publish as publish_module
    from scoreline.pipeline import run as run_module

    files = tmp_path / "files"

    def write(frame: pd.DataFrame) -> None:
        spark.createDataFrame(frame).coalesce(1).write.mode("overwrite").parquet(str(files))

    def made(hours: int) -> Any:
        return shop(input={"path": str(files), "format": "parquet", "key": "customer"}, now=NOW + hours * HOUR)

    first, second = customers().head(20), customers().head(20).assign(visits=0)
    write(first)
    monkeypatch.setattr(publish_module, "publish_staged", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(made(0))
    monkeypatch.undo()
    write(second)
    report = run(made(1))
    assert (report.resumed_slices, report.audit.scored) == (0, 20)
    found = predictions(made(1)).sort_values("user_id")["prediction"].tolist()
    assert found == churn.predict(second.sort_values("customer")[FEATURES]).tolist()
    real = run_module.stage_slices
    monkeypatch.setattr(run_module, "stage_slices", lambda *a, **k: (real(*a, **k), write(customers().head(30)))[0])
    write(first)
    with pytest.raises(RunFailed, match="have changed while the run read them; nothing was published"):
        run(made(2))
    assert predictions(made(2)).sort_values("user_id")["prediction"].tolist() == found
