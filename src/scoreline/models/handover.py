"""What a model that speaks pandas is given for a batch: what plain MLflow would take for the same rows, or BadInput.

Times are handed over in UTC without a zone, as MLflow's `datetime` wants them; decimals as the nearest double; records
as dicts; what pandas has no null for (whole numbers, required parts) makes the row fail.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .signature_types import ANY, arrow_type, fits, is_nested, nullable, tensor_type, with_leaves

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import ColSpec, Schema, TensorSpec

    Spec: TypeAlias = ColSpec | TensorSpec

__all__ = ["BadInput", "conformed", "handed_over"]

Tensor = npt.NDArray[Any]  # of the type that the signature says


class BadInput(Exception):
    """A row has a value that the model's signature leaves no place for; `code` says what kind."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def handed_over(
    batch: pa.RecordBatch, schema: "Schema | None", *, typed: bool = False
) -> "pd.DataFrame | Tensor | dict[str, Tensor] | list[object]":
    """The argument of `predict` for the columns of a batch, by an mlflow Schema (None: the frame as it is).

    Columns of a schema without names are in its order. typed: the schema was made from type hints, which MLflow
    checks against Python's own values: a list of them.
    """
    if schema is None:
        frame: pd.DataFrame = batch.to_pandas()
        return frame
    if schema.is_tensor_spec():
        return _tensors(batch, schema.inputs)
    return _records(batch, schema.inputs[0]) if typed else _frame(batch, schema.inputs)


def _paired(batch: pa.RecordBatch, specs: "Sequence[Spec]") -> "list[tuple[Spec, pa.Array]]":
    """Inputs with their columns: by name, and by position where a signature has no names (then all are there)."""
    if all(isinstance(spec.name, str) and spec.name for spec in specs):
        there = set(batch.schema.names)
        return [(spec, batch.column(spec.name)) for spec in specs if spec.name in there]
    return list(zip(specs, batch.columns, strict=True))


def _frame(batch: pa.RecordBatch, specs: "Sequence[Spec]") -> "pd.DataFrame":
    pairs = _paired(batch, specs)
    flat, deep = {}, {}
    for place, (spec, values) in enumerate(pairs):
        wanted, name = arrow_type(spec.type), _name(spec, batch, place)
        column = conformed(values, wanted, name)
        _require(column, wanted, name, may_be_null=not spec.required, top=True)
        if wanted != ANY and is_nested(wanted) and (not pa.types.is_list(wanted) or is_nested(wanted.value_type)):
            deep[str(place)] = _objects(column)
        else:
            flat[str(place)] = column
    import pandas as pd

    frame = pa.table(flat).to_pandas(maps_as_pydicts="strict") if flat else pd.DataFrame(index=range(batch.num_rows))
    for place_name, objects in deep.items():
        frame[place_name] = pd.Series(objects, dtype=object)
    frame = frame[[str(place) for place in range(len(pairs))]]
    return frame.set_axis([place if spec.name is None else spec.name for place, (spec, _) in enumerate(pairs)], axis=1)


def _name(spec: "Spec", batch: pa.RecordBatch, place: int) -> str:
    return str(spec.name) if spec.name is not None else str(batch.schema.names[place])


def _records(batch: pa.RecordBatch, spec: "Spec") -> list[object]:
    """A list of a row's one value, or of dicts made of the columns that are called like a record's properties."""
    wanted = arrow_type(spec.type)
    if batch.num_columns == 1 and fits(batch.schema.types[0], wanted):
        name, values = batch.schema.names[0], batch.column(0)
    else:
        name, values = "record", pa.StructArray.from_arrays(batch.columns, fields=list(batch.schema))
    column = conformed(values, wanted, name, unit="us")
    _require(column, wanted, name, may_be_null=not spec.required, top=False)
    return column.to_pylist(maps_as_pydicts="strict")  # type: ignore[no-any-return]


def conformed(values: pa.Array, wanted: pa.DataType, name: str, *, unit: str = "ns") -> pa.Array:
    """The column as the type that the signature says; raises BadInput for a value beyond it."""
    # inside of records pandas makes numbers of nanoseconds
    target = _given(values.type, "us") if wanted == ANY else _given(nullable(wanted), unit)
    if values.type.equals(target):
        return values
    try:
        # Arrow's own way from decimals to doubles misses the nearest one for 0.7 % of them
        return values.cast(with_leaves(values.type, _as_text)).cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadInput("BAD_INPUT", f"column {name}: {_beyond(values, target, error)}") from None


def _given(kind: pa.DataType, unit: str) -> pa.DataType:
    return with_leaves(kind, lambda leaf: pa.timestamp(unit) if pa.types.is_timestamp(leaf) else leaf)


def _as_text(leaf: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_decimal(leaf) else leaf


def _beyond(values: pa.Array, target: pa.DataType, error: Exception) -> str:
    if "out of bounds" in str(error):
        return f"{_some(values)} is beyond what MLflow's datetime can hold, 1677-09-21 to 2262-04-11"
    return f"{_some(values)} cannot be given as {target}"


def _some(values: pa.Array) -> str:
    found = values.drop_null()
    return str(found[0].as_py())[:100] if len(found) else "null"


def _require(values: pa.Array, wanted: pa.DataType, name: str, *, may_be_null: bool, top: bool) -> None:
    """Raise BadInput for a null that plain MLflow refuses, or turns into something else, as None into a text `None`.

    top: it is a column of a frame, where pandas has nulls of text, numbers with a point, booleans and times.
    """
    if wanted == ANY:
        return
    nulls = values.null_count > 0
    if nulls and (pa.types.is_integer(wanted) if top and not is_nested(wanted) else not may_be_null):
        said = f"column {name} is null, and the model's signature leaves no null there: {wanted}"
        raise BadInput("NULL_INPUT", f"{said}. Fill it in the table, or log the model with double, or as optional")
    if pa.types.is_struct(wanted):
        there = values.filter(values.is_valid()) if nulls else values
        for place, field in enumerate(wanted):
            part = there.field(place)
            _require(part, field.type, f"{name}.{field.name}", may_be_null=field.nullable, top=False)
    elif pa.types.is_list(wanted):
        floats = pa.types.is_floating(wanted.value_type) or pa.types.is_timestamp(wanted.value_type)
        _require(values.flatten(), wanted.value_type, f"{name}[]", may_be_null=bool(floats), top=False)
    elif pa.types.is_map(wanted):
        items = _entries(values).flatten().field("value")
        _require(items, wanted.item_type, f"{name}{{}}", may_be_null=may_be_null, top=False)


def _objects(values: pa.Array) -> list[Any]:
    """Python's values of nested columns; scalars of the types that MLflow tells apart as NumPy's."""
    kind = values.type
    valid = values.is_valid().to_pylist()
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        parts = zip(*(_objects(values.field(place)) for place in range(len(names))), strict=True)
        rows = [dict(zip(names, row, strict=True)) for row in parts]
        return [row if is_there else None for row, is_there in zip(rows, valid, strict=True)]
    if pa.types.is_map(kind):
        return [
            None if row is None else {one["key"]: one["value"] for one in row}
            for row in _nested(_entries(values), valid)
        ]
    if pa.types.is_list(kind) and is_nested(kind.value_type):
        return _nested(values, valid)
    if pa.types.is_list(kind):
        return list(values.to_pandas())
    if pa.types.is_timestamp(kind):
        times = list(values.to_numpy(zero_copy_only=False))
        return [time if is_there else None for time, is_there in zip(times, valid, strict=True)]
    plain = values.to_pylist()
    made_of = {pa.int32(): np.int32, pa.float32(): np.float32}.get(kind)
    return plain if made_of is None else [None if value is None else made_of(value) for value in plain]


def _nested(lists: pa.Array, valid: list[bool]) -> list[Any]:
    flat = _objects(lists.flatten())
    ends = np.cumsum(pc.fill_null(lists.value_lengths(), 0).to_numpy()).tolist()
    rows = [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return [row if is_there else None for row, is_there in zip(rows, valid, strict=True)]


def _entries(maps: pa.Array) -> pa.Array:
    """A map as a list of records: a slice of it knows its own part only then."""
    return maps.cast(pa.list_(pa.struct([("key", maps.type.key_type), ("value", maps.type.item_type)])))


def _tensors(batch: pa.RecordBatch, specs: "Sequence[Spec]") -> Tensor | dict[str, Tensor]:
    if len(specs) == 1 and not specs[0].name:
        return _tensor(batch.columns, specs[0], ", ".join(batch.schema.names))
    return {spec.name: _tensor([values], spec, spec.name) for spec, values in _paired(batch, specs)}


def _tensor(columns: Sequence[pa.Array], spec: "Spec", name: str) -> Tensor:
    """An array of the signature's type and shape: of columns of scalars side by side, or of one column of lists."""
    shape = (len(columns[0]), *spec.shape[1:])
    if tensor_type(spec.type) == ANY:
        found = [_naive(column).to_pandas().to_numpy(dtype=object) for column in columns]
        return found[0] if len(spec.shape) == 1 else np.column_stack(found).reshape(shape)
    if is_nested(columns[0].type):
        return _of_lists(columns[0], spec, shape, name)
    found = [_elements(column, spec.type, name) for column in columns]
    return (found[0] if len(found) == 1 else np.column_stack(found)).reshape(shape)


def _naive(column: pa.Array) -> pa.Array:
    return conformed(column, ANY, "")


def _of_lists(values: pa.Array, spec: "Spec", shape: tuple[int, ...], name: str) -> Tensor:
    wanted = int(np.prod(shape[1:]))
    sizes = np.full(len(values), 1)
    if values.null_count:
        raise BadInput("NULL_INPUT", f"column {name} is null, and a tensor has no place for it")
    while is_nested(values.type):
        if values.null_count:
            raise BadInput("NULL_INPUT", f"column {name} has a null in it, and a tensor has no place for it")
        owner = np.repeat(np.arange(len(sizes)), sizes)
        sizes = np.bincount(owner, weights=values.value_lengths().to_numpy(), minlength=len(sizes)).astype(np.int64)
        values = values.flatten()
    if (wrong := sizes[sizes != wanted]).size:
        raise BadInput(
            "BAD_INPUT",
            f"column {name} has {wrong[0]} values, the model's signature says {wanted}: {tuple(spec.shape)}",
        )
    return _elements(values, spec.type, name).reshape(shape)


def _elements(values: pa.Array, dtype: npt.DTypeLike, name: str) -> Tensor:
    column, kind = conformed(values, tensor_type(dtype), name), np.dtype(dtype)
    if column.null_count and kind.kind not in "fM":
        raise BadInput("NULL_INPUT", f"column {name} is null, and a tensor of {kind} has no place for it")
    if kind.kind == "U":
        return np.array(column.to_pylist(), dtype=np.str_)
    found: Tensor = column.to_numpy(zero_copy_only=False)
    return found.astype(kind, copy=False)
