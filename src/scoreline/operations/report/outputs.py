"""Outputs of a model that is no recommender, now against before. Plain functions of Arrow tables; read nothing."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scoreline.operations.report.facts import Output, OutputChanges, Spread
from scoreline.operations.report.lists import scores_of

_VALUES, _VERSIONS = 12, 4


def compare_outputs(new: pa.Table, old: pa.Table, names: list[str], *, of: int) -> OutputChanges:
    """What changed between two tables `user_id, model_version` and the outputs `names`, each user once.

    of: users in the whole run. An output that is no number, truth value or text is left out.
    """
    replaced = int(pc.sum(pc.is_in(new["user_id"], value_set=old["user_id"].combine_chunks())).as_py() or 0)
    outputs = [_output(name, new, old) for name in names]
    return OutputChanges(new.num_rows, of, replaced, tuple(output for output in outputs if output is not None))


def _output(name: str, new: pa.Table, old: pa.Table) -> Output | None:
    kind = new[name].type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if is_number:
        now, before = _numbers(new[name]), _numbers(old[name])
        spreads = [*_spreads(name, new, "now"), *_spreads(name, old, "before")]
        return Output(name, scores_of(now, before), tuple(spreads))
    if pa.types.is_boolean(kind) or pa.types.is_string(kind):
        counts = [_values(table[name]) for table in (new, old)]
        ordered = sorted({**counts[0], **counts[1]}, key=lambda value: (-counts[0].get(value, 0), value))
        return Output(name, values=tuple((v, counts[0].get(v, 0), counts[1].get(v, 0)) for v in ordered[:_VALUES]))
    return None


def _spreads(name: str, table: pa.Table, when: str) -> list[Spread]:
    """A line for each model version that made the rows, the one with most users first."""
    counts = pc.value_counts(table["model_version"]).to_pylist()
    largest = sorted(counts, key=lambda row: (-row["counts"], str(row["values"])))[:_VERSIONS]
    found = []
    for version in (row["values"] for row in largest):
        values = _numbers(table.filter(pc.equal(table["model_version"], version))[name])
        if len(values):
            low, median, high = (float(q) for q in np.quantile(values, [0.05, 0.5, 0.95]))
            found.append(Spread(f"{when}, version {version}", len(values), float(values.mean()), low, median, high))
    return found


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    values = column.drop_null().to_numpy().astype(np.float64)
    return values[np.isfinite(values)]  # type: ignore[no-any-return]


def _values(column: pa.ChunkedArray) -> dict[str, int]:
    texts = pc.fill_null(pc.cast(column, pa.string()), "(null)")
    return {row["values"]: row["counts"] for row in pc.value_counts(texts).to_pylist()}
