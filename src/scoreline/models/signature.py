"""What a model asks for and gives, read from its MLflow signature and checked against a table's columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import pyarrow as pa

from ..errors import InputError
from .signature_types import ANY, arrow_type, fits, leaf_of, tensor_type, width_of

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from mlflow.types.schema import Property

    Spec: TypeAlias = ColSpec | TensorSpec | Property

__all__ = ["UNNAMED", "Contract", "check_contract", "check_output_names", "checked_params"]

_HOW_TO_LOG = "log it with one, that of mlflow.models.infer_signature(inputs, outputs, params) given to log_model"
Columns = Mapping[str, pa.DataType]
UNNAMED = {"scoreline.names": "none"}  # of a signature whose outputs have no names: they are taken by position
_NOT_STORED = " ,;{}()\n\t="


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


def check_contract(
    signature: "ModelSignature | None", columns: pa.Schema | Columns, *, named: Sequence[str] = ()
) -> Contract:
    """The contract of an mlflow ModelSignature with a table of these columns.

    named: the columns of a signature without names, in its order.
    Raises `InputError` if there is no signature, or an input is missing from the table or has another type.
    Optional inputs that the table lacks are left out.
    """
    table = dict(zip(columns.names, columns.types, strict=True)) if isinstance(columns, pa.Schema) else dict(columns)
    if signature is None or signature.inputs is None:
        raise InputError(f"the model has no signature, so nobody can say which columns it wants: {_HOW_TO_LOG}")
    inputs = tuple(_inputs(signature.inputs, table, named))
    outputs = _outputs(signature.outputs)
    kind = _kind(outputs)
    if kind == "recommender":
        _check_ids(outputs, table)
    params = [] if signature.params is None else [param.name for param in signature.params.params]
    optional = [spec.name for spec in signature.outputs.inputs if not getattr(spec, "required", True)]
    return Contract(kind, inputs, outputs, frozenset(params), frozenset(optional))


def _inputs(schema: "Schema", table: Columns, named: Sequence[str]) -> list[str]:
    """The table's columns in the signature's order: of the inputs' names, or those that the configuration says."""
    specs = schema.inputs
    if all(isinstance(spec.name, str) and spec.name for spec in specs):
        if named:
            raise InputError("input.columns is for models whose inputs have no names; this one's have: remove the key")
        return [spec.name for spec in specs if _is_there(spec, table)]
    if named:
        return _by_position(specs, table, named)
    if all(str(spec.name) in table for spec in specs):  # pandas may number columns, a table's have text for names
        return [str(spec.name) for spec in specs if _is_there(spec, table)]
    if len(specs) == 1 and type(specs[0].type).__name__ == "Object":  # of type hints: records are columns side by side
        return [part.name for part in specs[0].type.properties if _is_there(part, table)]
    raise InputError(
        f"the model's signature has no named input columns ({_text(specs)}), and by their place alone they are not "
        f"looked for in a table. Say which columns they are, in the model's order: input.columns: [...]; or "
        f"{_HOW_TO_LOG}, with a DataFrame as inputs"
    )


def _by_position(specs: "Sequence[Spec]", table: Columns, named: Sequence[str]) -> list[str]:
    """The configured columns, if they fit the inputs one by one, or one tensor side by side."""
    if missing := [name for name in named if name not in table]:
        raise InputError(f"input.columns has {', '.join(missing)}; the table has {', '.join(table)}")
    side_by_side = len(specs) == 1 and len(named) > 1 and len(getattr(specs[0], "shape", ())) == 2
    wanted = specs[0].shape[1] if side_by_side else len(specs)
    if len(named) != wanted and wanted != -1:
        raise InputError(
            f"input.columns has {len(named)} columns, and the model's signature wants {wanted} ({_text(specs)}): "
            f"name as many, in the model's order"
        )
    for place, name in enumerate(named):
        _require_fit(name, table[name], specs[0 if side_by_side else place], whole_row=not side_by_side)
    return list(named)


def _is_there(spec: "Spec", table: Columns) -> bool:
    """Whether the table has the input's column, of a type that fits; an optional one may be missing."""
    name = str(spec.name)
    if name in table:
        _require_fit(name, table[name], spec)
        return True
    if getattr(spec, "required", True):
        alike = [column for column in table if column.lower() == name.lower()]
        raise InputError(
            f"the model wants a column {name} ({_text([spec])}); the table has {', '.join(table)}: "
            + (f"rename {alike[0]}" if alike else "add the column, or choose a model for this table")
        )
    return False


def _require_fit(name: str, found: pa.DataType, spec: "Spec", *, whole_row: bool = True) -> None:
    """Raise InputError unless a column of type `found` can be given as an input, or as one of a tensor's columns."""
    if getattr(spec, "shape", None) is None:
        fit = fits(found, arrow_type(spec.dtype if hasattr(spec, "dtype") else spec.type))
    else:
        fit = _fits_tensor(found, spec, whole_row=whole_row)
    if not fit:
        raise InputError(
            f"the model wants column {name} as {_text([spec])}, the table has {found}: "
            f"cast it in the table, or train the model on this table"
        )


def _fits_tensor(found: pa.DataType, spec: "Spec", *, whole_row: bool) -> bool:
    wanted, width = tensor_type(spec.type), width_of(spec.shape)
    if spec.shape[:1] != (-1,) or (whole_row and width is None):
        raise InputError(
            f"the model wants a tensor of shape {spec.shape}: a table has any number of rows, and as many values in "
            f"each. Log it with -1 as the first dimension, and no other"
        )
    if wanted == ANY:
        return True
    if not pa.types.is_list(found):
        return fits(found, wanted) and (not whole_row or width == 1)
    return whole_row and fits(leaf_of(found), wanted)


def _text(specs: "Sequence[Spec]") -> str:
    """Types as a reader knows them: Arrow's names of MLflow's types, and tensors with their shape."""
    return ", ".join(map(_said, specs))


def _said(spec: "Spec") -> str:
    if getattr(spec, "shape", None) is not None:
        return f"tensor of {spec.type} {spec.shape}"
    kind = arrow_type(spec.dtype if hasattr(spec, "dtype") else spec.type)
    return "any" if kind == ANY else str(kind)


def _outputs(schema: "Schema | None") -> pa.Schema:
    """The output columns; unnamed ones are called prediction, or prediction_0, prediction_1, ..."""
    if schema is None or not schema.inputs:
        raise InputError(f"the model's signature does not say what it gives: {_HOW_TO_LOG}")
    fields = [field for spec in schema.inputs for field in _fields_of(spec)]
    if all(name is not None for name, _ in fields):
        return pa.schema(fields)
    names = ["prediction"] if len(fields) == 1 else [f"prediction_{place}" for place in range(len(fields))]
    return pa.schema([(name, kind) for name, (_, kind) in zip(names, fields, strict=True)], metadata=UNNAMED)


def checked_params(signature: "ModelSignature", given: Mapping[str, object]) -> dict[str, object]:
    """All params of a signature: what is given, and the defaults of the others; raises InputError for a wrong type."""
    found = {}
    for spec in signature.params.params if signature.params else ():
        value = given.get(spec.name, spec.default)
        try:
            found[spec.name] = type(spec).validate_param_spec(value, spec) if spec.name in given else value
        except Exception:  # mlflow's own
            shape = " as a list" if spec.shape else ""
            raise InputError(
                f"the model's param {spec.name} is {spec.dtype}{shape} by its signature, and the configuration gives "
                f"it {str(value)[:100]!r}: correct scoring.params, or log the model with a param of that type"
            ) from None
    return found


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
        _check_name(name, name)
        _check_parts(name, outputs.field(name).type)
        seen[low] = name


def _check_name(output: str, name: str) -> None:
    if wrong := sorted({character for character in name if character in _NOT_STORED}):
        where = "its name" if output == name else f"the name of its part {name!r}"
        raise _refused(output, f"Delta stores no column with {' or '.join(map(repr, wrong))} in {where}")


def _check_parts(output: str, kind: pa.DataType) -> None:
    """The same of what stands inside of objects."""
    if pa.types.is_struct(kind):
        names = [part.name for part in kind]
        for part in kind:
            _check_name(output, part.name)
            _check_parts(output, part.type)
        if len({name.lower() for name in names}) < len(names):
            raise _refused(output, f"two of its parts differ by nothing, or by case only: {', '.join(names)}")
    elif pa.types.is_map(kind):
        _check_parts(output, kind.item_type)
    elif pa.types.is_list(kind):
        _check_parts(output, kind.value_type)


def _refused(name: str, why: str) -> InputError:
    return InputError(
        f"the model's output {name!r} cannot be a column of the predictions: {why}. Rename it: log the model again "
        "with outputs of other names, and a signature that says so"
    )


def _fields_of(spec: "Spec") -> list[tuple[str | None, pa.DataType]]:
    """Names and types of the columns of one output: a matrix without a name is a column for each of its columns."""
    name = spec.name if isinstance(spec.name, str) and spec.name else None
    if (shape := getattr(spec, "shape", None)) is None:
        if (kind := arrow_type(spec.type)) == ANY:
            raise InputError(
                f"the model's signature does not say of what type output {name or 'prediction'} is (Any, as for an "
                f"example of nulls or of several types): {_HOW_TO_LOG}, with outputs of one type"
            )
        return [(name, kind)]
    kind = _stored(tensor_type(spec.type))
    if not shape or 0 in shape:
        raise InputError(f"the model gives a tensor of shape {tuple(shape)}, which is no column of a table")
    if name is None and len(shape) == 2 and shape[1] > 0:
        return [(None, kind)] * int(shape[1])
    for _ in shape[1:] if shape[1:] != (1,) else ():
        kind = pa.list_(kind)
    return [(name, kind)]


def _stored(kind: pa.DataType) -> pa.DataType:
    """How a column of such elements is stored: labels of an object array as text, unsigned numbers one type wider."""
    wider = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.float16(): pa.float32()}
    return {ANY: pa.string(), pa.uint64(): pa.decimal128(20, 0), **wider}.get(kind, kind)


def _kind(outputs: pa.Schema) -> Literal["recommender", "tabular"]:
    lists = {field.name for field in outputs if pa.types.is_list(field.type)}
    return "recommender" if {"item_ids", "scores"} <= lists else "tabular"


def _check_ids(outputs: pa.Schema, table: Columns) -> None:
    given, known = outputs.field("item_ids").type, table.get("item_ids")
    if known is not None and not fits(known, given):
        raise InputError(
            f"the model recommends item ids of type {given.value_type}, the table's are {leaf_of(known)}: "
            f"train the model on this table, or set keys.item_id to the type of the ids"
        )
