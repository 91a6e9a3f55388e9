"""Polars + NumPy in one process: read, fold in, the usual NumPy top-K, write; no users' factors are given."""

import numpy as np
import polars as pl
import scipy.sparse as sp

from job import Job, run_passes, usual_top_k


def work(job: Job, number: int) -> None:
    items = job.items()
    events = pl.scan_parquet(job.histories).filter(pl.col("user_id") <= job.users)
    histories = events.select("user_id", "item_ids").collect()
    lengths = histories["item_ids"].list.len().to_numpy()
    columns = (histories["item_ids"].explode() - 1).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ones = np.ones(len(columns), np.float32)
    seen = sp.csr_matrix((ones, columns, offsets), shape=(len(lengths), len(items)))
    found, scores = usual_top_k(seen @ items, items, seen, job.k)
    lists = pl.DataFrame({"user_id": histories["user_id"], "item_ids": found + 1, "scores": scores})
    job.place(number).mkdir(parents=True, exist_ok=True)
    shape = [pl.col("item_ids").arr.to_list(), pl.col("scores").arr.to_list()]
    lists.with_columns(shape).write_parquet(job.place(number) / "lists.parquet")


if __name__ == "__main__":
    run_passes(work, about=__doc__)
