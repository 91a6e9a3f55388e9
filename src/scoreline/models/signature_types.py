"""The types of MLflow's signatures as Arrow types, and which types of a table's columns may stand for them.

A column stands for an input if its values can be given without a change: what is wider, or written in another way. What
would lose something is cast by whoever owns the table. docs/inputs.md has the same as a table.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import InputError

if TYPE_CHECKING:
    from mlflow.types import DataType
    from mlflow.types.schema import BaseType

__all__ = ["ANY", "arrow_type", "fits", "is_nested", "leaf_of", "nullable", "tensor_type", "width_of", "with_leaves"]

ANY = pa.null()  # MLflow's Any: whatever the table has
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
# From a signature's type to the columns' types that MLflow takes for it without losing anything. Spark has no unsigned
# numbers: it reads those of Parquet as the next wider type, which is taken back, value by value.
_TAKEN = {
    pa.int16(): {pa.int8(), pa.uint8()},
    pa.int32(): {pa.int8(), pa.int16(), pa.uint8(), pa.uint16()},
    pa.int64(): {pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32()},
    pa.float32(): {pa.float16()},
    pa.float64(): {pa.float32(), pa.float16(), pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32()},
    pa.string(): {pa.large_string(), pa.string_view()},
    pa.binary(): {pa.large_binary()},
    pa.uint8(): {pa.int16()},
    pa.uint16(): {pa.int32()},
    pa.uint32(): {pa.int64()},
    pa.uint64(): {pa.decimal128(20, 0)},
}


def arrow_type(kind: "DataType | BaseType") -> pa.DataType:
    """Arrow type of an MLflow type: a DataType, an Array, a Map, an Object or Any; optional properties are nullable."""
    name = type(kind).__name__
    if name in ("Array", "SparkMLVector"):
        return pa.list_(arrow_type(kind.dtype))
    if name == "Map":
        return pa.map_(pa.string(), arrow_type(kind.value_type))
    if name == "Object":
        return pa.struct([pa.field(part.name, arrow_type(part.dtype), not part.required) for part in kind.properties])
    if name == "AnyType":
        return ANY
    simple = _SIMPLE.get(getattr(kind, "name", ""))
    if simple is None:
        raise InputError(f"the model's signature has type {kind}, which has no place in a table")
    return simple


def tensor_type(dtype: npt.DTypeLike) -> pa.DataType:
    """Arrow type of a tensor's elements; of an object array ANY, since it holds whatever it was given."""
    kind = np.dtype(dtype)
    if kind.kind == "M":
        return _SIMPLE["datetime"]
    simple = {"O": ANY, "U": pa.string()}.get(kind.kind)
    if simple is not None:
        return simple
    try:
        if kind.kind in "biuf":
            return pa.from_numpy_dtype(kind)
    except pa.ArrowNotImplementedError:  # long doubles
        pass
    raise InputError(f"the model's signature has a tensor of {kind}, and no column of a table holds such values")


def fits(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column of type `found` can be given where `wanted` stands, without a change of values."""
    if wanted == ANY:
        return True
    if is_nested(wanted):
        return _fits_nested(found, wanted)
    if pa.types.is_timestamp(wanted):
        return bool(pa.types.is_timestamp(found) or pa.types.is_date(found))
    if wanted == pa.float64() and pa.types.is_decimal(found):
        return True
    return bool(found == wanted) or found in _TAKEN.get(wanted, set())


def _fits_nested(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_list(wanted):
        return _is_list(found) and fits(found.value_type, wanted.value_type)
    if pa.types.is_map(wanted):
        return pa.types.is_map(found) and found.key_type == pa.string() and fits(found.item_type, wanted.item_type)
    return bool(pa.types.is_struct(found)) and all(_has_field(found, field) for field in wanted)


def _has_field(found: pa.StructType, wanted: pa.Field) -> bool:
    if len(there := found.get_all_field_indices(wanted.name)) != 1:
        return bool(wanted.nullable) and not there
    return fits(found.field(there[0]).type, wanted.type)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_nested(kind: pa.DataType) -> bool:
    """Whether a value of this type has parts."""
    return bool(pa.types.is_nested(kind))


def leaf_of(kind: pa.DataType) -> pa.DataType:
    """The type of what stands in lists of lists."""
    return leaf_of(kind.value_type) if _is_list(kind) else kind


def width_of(shape: tuple[int, ...]) -> int | None:
    """How many values of a tensor belong to one row; None if that differs from row to row."""
    return None if -1 in shape[1:] else math.prod(shape[1:])


def with_leaves(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """The same type with its innermost types changed; what may be null stays as it is."""
    if _is_list(kind):
        return pa.list_(with_leaves(kind.value_type, change))
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, with_leaves(kind.item_type, change))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(with_leaves(field.type, change)) for field in kind])
    return change(kind)


def nullable(kind: pa.DataType) -> pa.DataType:
    """The same type with every part nullable."""
    if _is_list(kind):
        return pa.list_(nullable(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, nullable(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, nullable(field.type)) for field in kind])
    return kind
