import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array

from scoreline.errors import InputError
from scoreline.models.mlflow_model import signature_of
from scoreline.models.signature import check_contract
from unit.models.fitted import fitted_model

HISTORY = pa.schema(
    [
        ("user_id", pa.int64()),
        ("item_ids", pa.list_(pa.int64())),
        ("weights", pa.list_(pa.float32())),
        ("event_times", pa.list_(pa.timestamp("us", "UTC"))),
        ("older_item_ids", pa.list_(pa.int64())),
    ]
)


def tabular(*inputs: ColSpec, outputs: Schema | None = None) -> ModelSignature:
    return ModelSignature(Schema(list(inputs)), outputs or Schema([ColSpec(DataType.double, "score")]))


def test_shipped_models_fit_the_history_table() -> None:
    contract = check_contract(signature_of(fitted_model()), HISTORY)
    assert contract.kind == "recommender"
    assert contract.inputs == ("item_ids", "weights", "older_item_ids")
    assert contract.outputs.names == ["item_ids", "scores", "source"]
    assert contract.outputs.types == [pa.list_(pa.int64()), pa.list_(pa.float32()), pa.string()]
    assert contract.params == {"k", "exclude_seen", "allowed_items", "blocked_items"}


def test_optional_input_may_be_missing() -> None:
    columns = {"item_ids": pa.large_list(pa.int64())}
    assert check_contract(signature_of(fitted_model()), columns).inputs == ("item_ids",)


def test_string_ids_do_not_fit_a_model_of_longs() -> None:
    with pytest.raises(InputError, match=r"column item_ids as list<.*int64>, the table has list<.*string>"):
        check_contract(signature_of(fitted_model()), {"item_ids": pa.list_(pa.string())})


def test_recommended_ids_have_the_type_of_the_tables() -> None:
    outputs = Schema([ColSpec(Array(DataType.string), "item_ids"), ColSpec(Array(DataType.float), "scores")])
    signature = tabular(ColSpec(DataType.long, "user_id"), outputs=outputs)
    with pytest.raises(InputError, match="item ids of type string, the table's are int64"):
        check_contract(signature, HISTORY)


def test_optional_outputs_may_be_null() -> None:
    outputs = Schema([ColSpec(DataType.double, "score", required=False), ColSpec(DataType.string, "why")])
    signature = tabular(ColSpec(DataType.double, "amount"), outputs=outputs)
    assert check_contract(signature, {"amount": pa.float64()}).optional == {"score"}


def test_any_other_model_is_tabular() -> None:
    signature = tabular(ColSpec(DataType.double, "amount"), ColSpec(DataType.string, "country"))
    columns = {"country": pa.string(), "more": pa.int8(), "amount": pa.float32()}
    contract = check_contract(signature, columns)
    assert (contract.kind, contract.inputs, contract.params) == (
        "tabular",
        ("amount", "country"),
        frozenset(),
    )
    assert contract.outputs == pa.schema([("score", pa.float64())])


def test_missing_column_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"wants a column amount \(double\); the table has country"):
        check_contract(tabular(ColSpec(DataType.double, "amount")), {"country": pa.string()})
    with pytest.raises(InputError, match=r"wants a column amount \(double\); the table has Amount: rename Amount"):
        check_contract(tabular(ColSpec(DataType.double, "amount")), {"Amount": pa.float64()})


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        (DataType.long, pa.int32(), True),
        (DataType.double, pa.float32(), True),
        (DataType.double, pa.int32(), True),
        (DataType.double, pa.int64(), False),
        (DataType.integer, pa.int64(), False),
        (DataType.float, pa.float64(), False),
        (DataType.string, pa.large_string(), True),
        (DataType.string, pa.int64(), False),
        (DataType.datetime, pa.timestamp("us", "UTC"), True),
        (DataType.datetime, pa.date32(), True),
        (DataType.boolean, pa.int8(), False),
        (Array(DataType.double), pa.list_(pa.float32()), True),
        (Array(DataType.double), pa.float64(), False),
    ],
)
def test_only_what_loses_nothing_is_converted(wanted: object, found: pa.DataType, fits: bool) -> None:
    signature = tabular(ColSpec(wanted, "x"))
    if fits:
        assert check_contract(signature, {"x": found}).inputs == ("x",)
    else:
        with pytest.raises(InputError, match="wants column x as"):
            check_contract(signature, {"x": found})


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (np.zeros(3), ["prediction"]),
        (np.zeros((3, 2)), ["prediction_0", "prediction_1"]),
        (pd.Series([1.0]), ["prediction"]),
        (pd.DataFrame({"p": [1.0]}), ["p"]),
    ],
)
def test_unnamed_outputs_get_names(outputs: object, names: list[str]) -> None:
    signature = infer_signature(pd.DataFrame({"x": [1.0]}), outputs)
    assert check_contract(signature, {"x": pa.float64()}).outputs.names == names


def test_model_without_signature_is_told_how_to_get_one() -> None:
    with pytest.raises(InputError, match=r"no signature.*infer_signature"):
        check_contract(None, HISTORY)
    with pytest.raises(InputError, match="does not say what it gives"):
        check_contract(ModelSignature(Schema([ColSpec(DataType.double, "x")])), {"x": pa.float64()})


def test_unnamed_inputs_are_refused() -> None:
    with pytest.raises(InputError, match="no named input columns"):
        check_contract(infer_signature(np.zeros((2, 3)), np.zeros(2)), HISTORY)
