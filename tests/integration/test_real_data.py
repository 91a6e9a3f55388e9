"""The shipped configurations on the data sets they are for; skipped where those are absent."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from builders import ENGINE
from integration.truth import expected, published
from scoreline.config.loading import load_settings
from scoreline.context import Context, open_context
from scoreline.engine.frames import collected
from scoreline.ingest.ingest import IngestReport, ingest_events
from scoreline.models import artifacts
from scoreline.pipeline.run import run
from scoreline.pipeline.run_report import RunReport
from scoreline.registry.files import download
from scoreline.registry.versions import pin
from scoreline.training.experiment import Recipe, evaluated, make_estimator
from scoreline.training.fit import Asked
from scoreline.training.interactions import Interactions
from scoreline.training.train import TrainReport, histories, train_model

CONF = Path(__file__).parents[2] / "conf"
NIGHT = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Done:
    """A pipeline after its first night."""

    overrides: list[str]
    config: Path
    ingested: IngestReport
    taught: TrainReport
    report: RunReport

    def context(self, night: int = 1) -> Context:
        return open_context(load_settings(self.config, self.overrides), now=NIGHT + timedelta(days=night - 1))

    @property
    def model(self) -> artifacts.FittedModel:
        settings = self.context().settings
        found = pin(settings.model.uri, tracking_uri=settings.tracking_uri)
        return artifacts.load(download(found, settings.model_folder) / "artifacts" / artifacts.NAME)

    def table(self) -> DataFrame:
        return self.context().tables.table("recommendations").read()


def first_night(name: str, events: Path, root: Path) -> Done:
    overrides = [f"engine={ENGINE}", f"tables.root={root}", f"export.url=sqlite:///{root}/serving.db"]
    config = CONF / f"{name}.yaml"
    made = open_context(load_settings(config, overrides), now=NIGHT)
    ingested = ingest_events(made, str(events))
    return Done(overrides, config, ingested, train_model(made), run(made))


@pytest.fixture(scope="module")
def movies(spark: SparkSession, data: Path, tmp_path_factory: Any) -> Done:
    return first_night("movies", data / "ml-latest-small" / "ratings.csv", tmp_path_factory.mktemp("movies"))


@pytest.fixture(scope="module")
def tweets(spark: SparkSession, data: Path, tmp_path_factory: Any) -> Done:
    return first_night(
        "movietweetings", data / "movietweetings-100k" / "ratings.dat", tmp_path_factory.mktemp("tweets")
    )


def test_every_rating_of_movielens_and_every_user_arrives(movies: Done) -> None:
    assert (movies.ingested.rows_read, movies.ingested.rows_bad, movies.ingested.users_in_source) == (100_836, 0, 610)
    assert (movies.report.audit.scored, movies.report.audit.seen) == (610, 0)


def test_all_lists_of_movielens_are_those_of_brute_force(movies: Done) -> None:
    assert published(movies.context()) == expected(movies.context(), movies.model, k=20)


def test_the_shipped_models_beat_popularity_by_a_margin(movies: Done) -> None:
    """By time, where few users have events on both sides, and by user, where all have."""
    training = movies.taught.training
    assert training.metrics["ndcg_at_10"] > 1.15 * training.baseline["ndcg_at_10"]
    assert training.metrics["ndcg_at_10"] == max(training.recency.values()) == training.recency["5.0"]
    events = Interactions.from_histories(histories(movies.context()))
    for estimator, factor in (("item_neighbours", 1.1), ("latent_factors", 1.2)):
        recipes = [Recipe.of(make_estimator(estimator, {})), Recipe("popularity", {})]
        model, popularity = evaluated(Asked("user", 0.2).split(events), recipes)
        assert model.ndcg_at_10 > factor * popularity.ndcg_at_10


def test_recency_is_kept_where_the_order_means_something(tweets: Done) -> None:
    training = tweets.taught.training
    assert training.recency["5.0"] > training.recency["null"]
    assert training.params["history_half_life"] == 5.0
    assert training.notes == ()


def test_lists_of_movietweetings_are_those_of_brute_force(tweets: Done) -> None:
    made = tweets.context()
    sample = {row[0] for row in tweets.table().where("bucket < 10").select("user_id").collect()}
    assert len(sample) >= 2_000
    found = {user: items for user, items in published(made).items() if user in sample}
    assert found == expected(made, tweets.model, k=20, users=sample)


def test_item_ids_keep_their_leading_zeros(tweets: Done, data: Path) -> None:
    lines = (data / "movietweetings-100k" / "ratings.dat").read_text(encoding="utf-8").splitlines()
    ids = {line.split("::")[1] for line in lines}
    listed = tweets.table().select(F.explode("recommendations.item_id").alias("item_id")).distinct().collect()
    found = {row["item_id"] for row in listed}
    assert found <= ids
    assert any(item.startswith("0") for item in found)


def test_after_one_percent_of_news_only_those_users_are_replaced(tweets: Done, tmp_path: Path) -> None:
    assert run(tweets.context(night=2)).state == "nothing_due"
    before = collected(tweets.table()).sort_by("user_id")
    users = before["user_id"].to_pylist()[::100]
    news = tmp_path / "news.dat"
    # an item that nobody has seen changes every history
    news.write_text("".join(f"{user}::0000001::8::1700000000\n" for user in users), encoding="utf-8")
    later = tweets.context(night=3)
    assert ingest_events(later, str(news)).users_changed == len(users)
    report = run(later)
    assert report.reasons == {"changed": len(users)}
    after = collected(tweets.table()).sort_by("user_id")
    replaced = pc.field("run_id") == report.run_id
    assert after.filter(replaced)["user_id"].to_pylist() == users
    others = ~pc.field("user_id").isin(users)
    assert after.filter(others).equals(before.filter(others))
