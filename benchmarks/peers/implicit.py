"""implicit in one process: read Parquet, `recommend` with its filter of what was seen, write Parquet."""

import numpy as np
from implicit.als import AlternatingLeastSquares

from job import Job, as_matrix, read_histories, run_passes, write_lists


def work(job: Job, number: int) -> None:
    histories = read_histories(job)
    items = job.items()
    model = AlternatingLeastSquares(factors=items.shape[1], num_threads=job.cores)
    model.user_factors, model.item_factors = job.factors(), items
    seen = as_matrix(histories, items=len(items))
    found, scores = model.recommend(np.arange(job.users), seen, N=job.k, filter_already_liked_items=True)
    write_lists(job.place(number), histories.column("user_id"), found, scores)


if __name__ == "__main__":
    run_passes(work, about=__doc__)
