"""Polars reads and writes, this project's model in the same process: nothing is compared, staged, audited or recorded.

The limit of any whole job with this kernel: one pass over Parquet, in batches, on as many threads as there are cores.
"""

from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pyarrow as pa

from job import Job, run_passes
from model import recommender
from scoreline.models.scoring import Scorer

_BATCH = 8_192


def work(job: Job, number: int) -> None:
    events = pl.scan_parquet(job.histories).filter(pl.col("user_id") <= job.users)
    table = events.select("user_id", "item_ids").collect().to_arrow()
    batches = table.combine_chunks().to_batches(max_chunksize=_BATCH)
    scorer = Scorer(recommender(job.items()))
    with ThreadPoolExecutor(job.cores) as threads:
        found = list(threads.map(lambda batch: scorer(batch.select(["item_ids"]), {"k": job.k}), batches))
    lists = pl.DataFrame(pa.Table.from_batches(found)).with_columns(user_id=pl.Series(table["user_id"]))
    job.place(number).mkdir(parents=True, exist_ok=True)
    lists.select("user_id", "item_ids", "scores").write_parquet(job.place(number) / "lists.parquet")


if __name__ == "__main__":
    run_passes(work, about=__doc__)
