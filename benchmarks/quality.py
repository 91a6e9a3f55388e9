"""How good the shipped models are on the real data sets, by the split of `scoreline train`.

    python benchmarks/quality.py DATA [--estimator item_neighbours --params '{"neighbours": 50}']

Prints one line per data set, split and model: NDCG@10, recall@20, coverage, popularity bias, users tested.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa

from scoreline.training.experiment import make_estimator
from scoreline.training.fit import measure
from scoreline.training.interactions import Interactions


def movielens(root: Path) -> pd.DataFrame:
    """ml-latest-small: numeric item ids, ratings 0.5 to 5."""
    frame = pd.read_csv(root / "ml-latest-small" / "ratings.csv")
    return frame.set_axis(["user", "item", "weight", "time"], axis=1)


def movietweetings(root: Path) -> pd.DataFrame:
    """movietweetings-100k: item ids with leading zeros, ratings 0 to 10."""
    lines = (root / "movietweetings-100k" / "ratings.dat").read_text(encoding="utf-8").splitlines()
    rows = [line.split("::") for line in lines]
    frame = pd.DataFrame(rows, columns=["user", "item", "weight", "time"])
    return frame.astype({"user": int, "weight": float, "time": int})


def as_histories(events: pd.DataFrame) -> pa.Table:
    """One row per user, as in `user_history`: each item once, the newest event counts, oldest first."""
    ordered = events.sort_values(["user", "time", "item"]).drop_duplicates(["user", "item"], keep="last")
    grouped = ordered.groupby("user").agg(list)
    seconds = pa.array(grouped["time"], pa.list_(pa.int64()))
    return pa.table(
        {
            "item_ids": pa.array(grouped["item"]),
            "weights": pa.array(grouped["weight"], pa.list_(pa.float32())),
            "event_times": seconds.cast(pa.list_(pa.timestamp("s", "UTC"))),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--estimator", nargs="*", default=["item_neighbours", "latent_factors"])
    parser.add_argument("--params", type=json.loads, default={})
    asked = parser.parse_args()
    print(f"{'data, split':<24}{'model':<18}{'ndcg@10':>9}{'recall@20':>10}{'coverage':>9}{'bias':>8}{'users':>7}")
    for name, load in (("movielens", movielens), ("movietweetings", movietweetings)):
        events = Interactions.from_histories(as_histories(load(asked.data)))
        for split in ("time", "user"):
            for estimator in asked.estimator:
                model, popular = measure(make_estimator(estimator, asked.params), events, split, 0.2)
                lines = (
                    {estimator: model} if estimator != asked.estimator[0] else {"popularity": popular, estimator: model}
                )
                for label, found in lines.items():
                    figures = "".join(f"{found.figures()[key]:>{width}.4f}" for key, width in WIDTHS.items())
                    print(f"{name + ', ' + split:<24}{label:<18}{figures}{found.users:>7}", flush=True)


WIDTHS = {"ndcg_at_10": 9, "recall_at_20": 10, "coverage": 9, "popularity_bias": 8}

if __name__ == "__main__":
    main()
