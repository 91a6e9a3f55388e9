"""Read what `predict` of a model gave: one value per row and output, as the signature says, or InvalidOutput.

Outputs are found by their names. By position only where one side has no names: a matrix, a list of lists, a frame whose
columns are numbered, or a signature without names, which says nothing but an order. A lone column is the lone output,
whatever it is called: there is nothing to mistake it for.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoreline.errors import told
from scoreline.models.signature import UNNAMED
from scoreline.models.signature_types import is_nested, with_leaves

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InvalidOutput", "cast", "read_answer", "require_names"]

_SHAPES = "a DataFrame, a Series, an array, a list of rows or records, or a dict of columns"


class InvalidOutput(Exception):
    """The model returned something that cannot be a result for the rows it was given; `code` says what kind."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_answer(found: object, outputs: pa.Schema, rows: int) -> pa.RecordBatch:
    """The answer for so many rows as a batch of the signature's outputs."""
    columns = answer_columns(found, outputs)
    arrays = [_read(columns[field.name], field) for field in outputs]
    if wrong := [len(values) for values in arrays if len(values) != rows]:
        raise InvalidOutput("ROW_COUNT", f"the model returned {wrong[0]} rows for {rows}")
    return pa.RecordBatch.from_arrays(arrays, schema=outputs)


def answer_columns(found: Any, outputs: pa.Schema) -> Mapping[str, object]:
    """The values of each output, as the model's own kind of column."""
    import pandas as pd

    names = outputs.names
    if isinstance(found, np.ndarray) and found.dtype.names:
        found = {name: found[name] for name in found.dtype.names}
    if isinstance(found, pa.RecordBatch | pa.Table):
        found = {name: found.column(place) for place, name in enumerate(found.schema.names)}
    if isinstance(found, pd.DataFrame):
        return _of_frame(found, outputs)
    if isinstance(found, Mapping):
        if _has_no_names(outputs) and len(found) == len(names):
            return dict(zip(names, found.values(), strict=True))
        require_names(names, found)
        return found
    if isinstance(found, pd.Series):
        _require_order(found.index)
        return _by_position(found, outputs)
    values = _rows(found)
    is_records = len(values) > 0 and isinstance(values[0], Mapping) and not _are_values(values, outputs)
    return _of_records(list(values), outputs) if is_records else _by_position(values, outputs)


def _of_frame(found: Any, outputs: pa.Schema) -> dict[str, object]:
    names, width = outputs.names, found.shape[1]
    _require_order(found.index)
    numbered = list(found.columns) == list(range(width))
    if (numbered or width == 1 or _has_no_names(outputs)) and width == len(names):
        return {name: found.iloc[:, place] for place, name in enumerate(names)}
    require_names(names, found.columns)
    return {name: found[name] for name in names}


def _rows(found: Any) -> Sequence[Any] | np.ndarray[Any, Any]:
    """A list or an array with a value, or a row of values, per row."""
    if hasattr(found, "toarray"):  # scipy's sparse matrices
        found = found.toarray()
    if isinstance(found, np.ma.MaskedArray):
        found = found.tolist()  # with None for what is masked, which np.asarray would show
    if not isinstance(found, list) and hasattr(found, "__array__"):
        found = np.asarray(found)
    if not isinstance(found, list | np.ndarray) or np.ndim(found if isinstance(found, np.ndarray) else [0]) == 0:
        raise InvalidOutput("WRONG_TYPE", f"the model returned {type(found).__name__}, expected {_SHAPES}")
    return found


def _are_values(rows: Any, outputs: pa.Schema) -> bool:
    """Whether dicts are the values of the one output, which is a record or a map, and not rows of outputs."""
    kind, name = outputs.field(0).type, outputs.names[0]
    if len(outputs) > 1 or not (pa.types.is_map(kind) or pa.types.is_struct(kind)):
        return False
    return _has_no_names(outputs) or any(row is None or list(row) != [name] for row in rows)


def _of_records(values: list[object], outputs: pa.Schema) -> dict[str, object]:
    rows: list[Mapping[str, object]] = [row if isinstance(row, Mapping) else {} for row in values]
    require_names(outputs.names, dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in outputs.names}


def _by_position(values: Any, outputs: pa.Schema) -> dict[str, object]:
    names = outputs.names
    if len(names) == 1:
        return {names[0]: values}
    wide = np.ndim(values) if isinstance(values, np.ndarray) else 1 + isinstance(next(iter(values), None), list | tuple)
    if wide == 1:
        raise InvalidOutput("MISSING_OUTPUT", f"the model returned one column, its signature has {', '.join(names)}")
    if wrong := sorted({len(row) for row in values} - {len(names)}):
        raise InvalidOutput("MISSING_OUTPUT", f"the model returned {wrong[0]} columns, its signature has {len(names)}")
    columns = values.T if isinstance(values, np.ndarray) and values.ndim == 2 else list(zip(*values, strict=True))
    return {name: columns[place] if len(values) else [] for place, name in enumerate(names)}


def _require_order(index: "pd.Index[Any]") -> None:
    """Refuse an answer whose index says that its rows are those of the batch in another order.

    Row by row there is no order: that is how such a model is then asked.
    """
    import pandas as pd

    if isinstance(index, pd.RangeIndex) or index.dtype.kind not in "iu" or index.is_monotonic_increasing:
        return
    if np.array_equal(np.sort(index), np.arange(len(index))):
        raise InvalidOutput("ROW_ORDER", "the model returned the rows in another order than it was given")


def _has_no_names(outputs: pa.Schema) -> bool:
    return bool({key.encode(): value.encode() for key, value in UNNAMED.items()} == outputs.metadata)


def require_names(names: Sequence[str], there: Iterable[object]) -> None:
    """Raise InvalidOutput unless each name is there, once."""
    found = list(there)
    given = [str(name) for name in found]
    if twice := [name for name in names if found.count(name) > 1]:
        raise InvalidOutput(
            "MISSING_OUTPUT", f"the model returned column {twice[0]} more than once: {', '.join(given)}"
        )
    if missing := [name for name in names if name not in found]:
        raise InvalidOutput(
            "MISSING_OUTPUT",
            f"the model returned no column {', '.join(missing)}: it returned {', '.join(given) or 'none'}, its "
            f"signature has {', '.join(names)}",
        )


def _read(values: object, field: pa.Field) -> pa.Array:
    try:
        return _array(values, field)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InvalidOutput(
            "WRONG_TYPE", f"output {field.name} cannot be read as {field.type}: {told(error)}"
        ) from None


def _array(values: Any, field: pa.Field) -> pa.Array:
    """A column of the field's type. Arrow's own way to a given type would parse text and take it apart to letters."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return cast(values, field)
    kind = field.type
    if pa.types.is_struct(kind) or pa.types.is_map(kind) or (pa.types.is_list(kind) and is_nested(kind.value_type)):
        return _nested(list(values), field)
    found = pa.array(_plain(values), from_pandas=True)
    if pa.types.is_date(found.type) and any(isinstance(value, datetime) for value in values):
        raise TypeError("found dates and times side by side, expected one of them")  # Arrow would drop the times
    return cast(found if is_nested(kind) else _single(found), field)


def _plain(values: Any) -> Any:
    """The values as Arrow takes them: it knows no matrix, nothing sparse, and no array without a dimension."""
    import pandas as pd

    kind = getattr(values, "dtype", None)
    if isinstance(kind, pd.DatetimeTZDtype):
        return values.dt.tz_convert(None)  # in UTC: Arrow's own way is deprecated by pandas 3.1
    if isinstance(kind, pd.SparseDtype):
        values = np.asarray(values)
    if isinstance(values, np.ma.MaskedArray):
        return values.tolist()
    if isinstance(values, np.ndarray) and values.ndim > 1:
        return list(values)
    if isinstance(values, list) and any(isinstance(value, np.datetime64) for value in values):
        return np.array(values, dtype="datetime64[us]")
    if isinstance(values, list) and any(isinstance(value, np.ndarray) and not value.ndim for value in values):
        return [np.asarray(value).item() for value in values]
    return values


def _single(values: pa.Array) -> pa.Array:
    """Rows of one value each are as good as the values."""
    if not pa.types.is_list(values.type) or values.null_count:
        return values
    lists = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return lists.flatten() if pc.all(pc.equal(lists.value_lengths(), 1)).as_py() else values


def _nested(rows: list[Any], field: pa.Field) -> pa.Array:
    """Records, maps and lists of lists, part by part."""
    kind = field.type
    missing = pa.array([row is None for row in rows], pa.bool_())
    if pa.types.is_struct(kind):
        if strange := next((row for row in rows if row is not None and not isinstance(row, Mapping)), None):
            raise TypeError(f"found {type(strange).__name__}, expected a dict")
        parts = [
            _array([None if row is None else row.get(part.name) for row in rows], _part(field, part)) for part in kind
        ]
        for part, values in zip(kind, parts, strict=True):
            if not part.nullable and values.filter(pc.invert(missing)).null_count:
                raise InvalidOutput("NULL_OUTPUT", f"output {field.name}.{part.name} is null or missing")
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=missing)
    if pa.types.is_map(kind):
        rows = [None if row is None else list(dict(row).items()) for row in rows]
    offsets = pa.array([*_starts(rows)], pa.int32())
    flat = [value for row in rows if row is not None for value in row]
    if pa.types.is_map(kind):
        keys = _array([key for key, _ in flat], pa.field(field.name, kind.key_type))
        items = _array([value for _, value in flat], pa.field(field.name, kind.item_type))
        return pa.MapArray.from_arrays(offsets, keys, items)
    return pa.ListArray.from_arrays(offsets, _array(flat, pa.field(field.name, kind.value_type)))


def _starts(rows: list[Any]) -> Iterable[int | None]:
    """Arrow's offsets; null where a row is."""
    start = 0
    for row in rows:
        if isinstance(row, str | bytes):
            raise TypeError(f"found {type(row).__name__}, expected a list")
        yield None if row is None else start
        start += 0 if row is None else len(row)
    yield start


def _part(field: pa.Field, part: pa.Field) -> pa.Field:
    return part.with_name(f"{field.name}.{part.name}")


def cast(values: pa.Array, field: pa.Field) -> pa.Array:
    """The column as the field's type, if it is of that kind: nothing is parsed, and a whole number stays one."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if values.type.equals(field.type):
        return values
    if not _is_of_kind(values.type, field.type):
        raise InvalidOutput("WRONG_TYPE", f"output {field.name} is {values.type}, expected {field.type}")
    try:
        exact = values.cast(with_leaves(values.type, lambda leaf: pa.string() if pa.types.is_decimal(leaf) else leaf))
        return exact.cast(field.type, safe=not pa.types.is_floating(_leaf(field.type)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidOutput(
            "WRONG_TYPE", f"output {field.name} is {values.type}, expected {field.type}: {told(error)}"
        ) from None


def _leaf(kind: pa.DataType) -> pa.DataType:
    return _leaf(kind.value_type) if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind


def _is_of_kind(found: pa.DataType, wanted: pa.DataType) -> bool:
    is_a = pa.types
    if is_a.is_null(found):
        return True
    if is_a.is_list(wanted):
        is_list = is_a.is_list(found) or is_a.is_large_list(found) or is_a.is_fixed_size_list(found)
        return is_list and _is_of_kind(found.value_type, wanted.value_type)
    kinds = next((kinds for kinds in _KINDS if any(is_kind(wanted) for is_kind in kinds[0])), None)
    return any(is_kind(found) for is_kind in kinds[1]) if kinds else bool(found == wanted)


_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary)
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_TIMES = (pa.types.is_timestamp, pa.types.is_date)
# what the signature says, and what is read as it
_KINDS = ((_TEXT, _TEXT), (_BYTES, _BYTES), (_NUMBERS, _NUMBERS), ((pa.types.is_timestamp,), _TIMES))
