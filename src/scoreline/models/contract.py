"""What a model asks for and gives, read from its MLflow signature and checked against a table's columns."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from scoreline.errors import InputError

__all__ = ["UNNAMED", "Contract", "check_contract", "check_output_names"]

_HOW_TO_LOG = (
    "log it with one, mlflow.pyfunc.log_model(..., signature=mlflow.models.infer_signature(inputs, outputs, params))"
)
_SIMPLE = {
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "datetime": pa.timestamp("us", "UTC"),
}
UNNAMED = {"scoreline.names": "none"}  # of a signature whose outputs have no names: they are taken by position
_NOT_STORED = " ,;{}()\n\t="
# What MLflow converts by itself without losing anything: from a column's type to a signature's.
_WIDENING = {
    pa.int32(): {pa.int8(), pa.int16(), pa.uint8(), pa.uint16()},
    pa.int64(): {pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32()},
    pa.float64(): {pa.float32(), pa.float16(), pa.int8(), pa.int16(), pa.int32()},
    pa.string(): {pa.large_string(), pa.string_view()},
    pa.binary(): {pa.large_binary()},
}


@dataclass(frozen=True)
class Contract:
    """How a model is called.

    kind: `recommender` if its outputs are arrays named item_ids and scores, else `tabular`.
    inputs: the table's columns to give it, in the signature's order. outputs: its columns with Arrow types.
    params: the names of the params it understands. optional: the outputs that may be null, by the signature.
    """

    kind: Literal["recommender", "tabular"]
    inputs: tuple[str, ...]
    outputs: pa.Schema
    params: frozenset[str]
    optional: frozenset[str] = frozenset()


def check_contract(signature: Any, columns: pa.Schema | dict[str, pa.DataType]) -> Contract:
    """The contract of an mlflow ModelSignature with a table of these columns.

    Raises `InputError` if there is no signature, or an input is missing from the table or has another type.
    Optional inputs that the table lacks are left out.
    """
    table = dict(columns) if isinstance(columns, dict) else dict(zip(columns.names, columns.types, strict=True))
    if signature is None or signature.inputs is None:
        raise InputError(f"the model has no signature, so nobody can say which columns it wants: {_HOW_TO_LOG}")
    inputs = tuple(_inputs(signature.inputs, table))
    outputs = _outputs(signature.outputs)
    kind = _kind(outputs)
    if kind == "recommender":
        _check_ids(outputs, table)
    params = [] if signature.params is None else [param.name for param in signature.params.params]
    optional = [spec.name for spec in signature.outputs.inputs if not getattr(spec, "required", True)]
    return Contract(kind, inputs, outputs, frozenset(params), frozenset(optional))


def _inputs(schema: Any, table: dict[str, pa.DataType]) -> list[str]:
    """Names of the inputs that the table has, all required ones among them."""
    if schema.is_tensor_spec() or not all(spec.name for spec in schema.inputs):
        raise InputError(
            f"the model's signature has no named input columns, so they cannot be found in a table: "
            f"{_HOW_TO_LOG}, with a DataFrame as inputs"
        )
    found = []
    for spec in schema.inputs:
        wanted = _arrow_type(spec.type)
        if spec.name not in table:
            if spec.required:
                raise InputError(
                    f"the model wants a column {spec.name} ({wanted}); the table has {', '.join(table)}: "
                    f"add the column, or choose a model for this table"
                )
            continue
        if not _fits(table[spec.name], wanted):
            raise InputError(
                f"the model wants column {spec.name} as {wanted}, the table has {table[spec.name]}: "
                f"cast it in the table, or train the model on this table"
            )
        found.append(spec.name)
    return found


def _fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column of type `found` can be given where `wanted` stands, without a change of values."""
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
        return is_list and _fits(found.value_type, wanted.value_type)
    if pa.types.is_timestamp(wanted):
        return bool(pa.types.is_timestamp(found) or pa.types.is_date(found))
    return bool(found == wanted) or found in _WIDENING.get(wanted, set())


def _outputs(schema: Any) -> pa.Schema:
    """The output columns; unnamed ones are called prediction, or prediction_0, prediction_1, ..."""
    if schema is None or not schema.inputs:
        raise InputError(f"the model's signature does not say what it gives: {_HOW_TO_LOG}")
    types = [kind for spec in schema.inputs for kind in _types_of(spec)]
    names = [spec.name for spec in schema.inputs]
    if len(types) != len(names) or not all(names):
        names = ["prediction"] if len(types) == 1 else [f"prediction_{place}" for place in range(len(types))]
        return pa.schema(list(zip(names, types, strict=True)), metadata=UNNAMED)
    return pa.schema(list(zip(names, types, strict=True)))


def check_output_names(outputs: pa.Schema, reserved: Iterable[str]) -> None:
    """Raise InputError for an output that cannot be a column of the table: no row has been read by then.

    Names of columns differ by more than case; `reserved` are those that the table has already.
    """
    taken = {name.lower() for name in reserved}
    seen: dict[str, str] = {}
    for name in outputs.names:
        low = name.lower()
        if low in taken:
            raise _refused(name, f"the table has a column {low} of its own")
        if low in seen:
            raise _refused(name, f"it differs from output {seen[low]!r} by nothing, or by case only")
        if wrong := sorted({character for character in name if character in _NOT_STORED}):
            raise _refused(name, f"Delta stores no column with {' or '.join(map(repr, wrong))} in its name")
        seen[low] = name


def _refused(name: str, why: str) -> InputError:
    return InputError(
        f"the model's output {name!r} cannot be a column of the predictions: {why}. Rename it: log the model again "
        "with outputs of other names, and a signature that says so"
    )


def _types_of(spec: Any) -> list[pa.DataType]:
    """Types of the columns of one output: a tensor of shape (-1, 3) is three columns."""
    shape = getattr(spec, "shape", None)
    if shape is None:
        return [_arrow_type(spec.type)]
    width = int(shape[1]) if len(shape) == 2 else 1
    if len(shape) > 2 or width < 1:
        raise InputError(f"the model gives a tensor of shape {tuple(shape)}, which is no column of a table")
    return [pa.from_numpy_dtype(np.dtype(spec.type))] * width


def _arrow_type(kind: Any) -> pa.DataType:
    """Arrow type of an MLflow type: a DataType, an Array, a Map or an Object."""
    name = type(kind).__name__
    if name == "Array":
        return pa.list_(_arrow_type(kind.dtype))
    if name == "Map":
        return pa.map_(pa.string(), _arrow_type(kind.value_type))
    if name == "Object":
        return pa.struct([(part.name, _arrow_type(part.dtype)) for part in kind.properties])
    simple = _SIMPLE.get(getattr(kind, "name", ""))
    if simple is None:
        raise InputError(f"the model's signature has type {kind}, which has no place in a table")
    return simple


def _kind(outputs: pa.Schema) -> Literal["recommender", "tabular"]:
    lists = {field.name for field in outputs if pa.types.is_list(field.type)}
    return "recommender" if {"item_ids", "scores"} <= lists else "tabular"


def _check_ids(outputs: pa.Schema, table: dict[str, pa.DataType]) -> None:
    given, known = outputs.field("item_ids").type, table.get("item_ids")
    if known is not None and not _fits(known, given):
        raise InputError(
            f"the model recommends item ids of type {given.value_type}, the table's are {known.value_type}: "
            f"train the model on this table, or set keys.item_id to the type of the ids"
        )
