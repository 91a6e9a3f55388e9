"""Save and register the model of `poison_model`, and histories that poison it."""

from pathlib import Path
from typing import Any

from scoreline.registry.client import quiet_mlflow

SCRIPT = Path(__file__).with_name("poison_model.py")


def kinds() -> dict[int, tuple[str, str]]:
    """item -> (what it does, the code), read from the model's own file."""
    found: dict[str, Any] = {}
    text = SCRIPT.read_text(encoding="utf-8")
    exec(text[text.index("KINDS") : text.index("GOOD")], found)
    return dict(found["KINDS"])


def signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    return ModelSignature(
        inputs=Schema([ColSpec(Array(DataType.long), "item_ids")]),
        outputs=Schema([ColSpec(Array(DataType.long), "item_ids"), ColSpec(Array(DataType.double), "scores")]),
    )


def save(folder: Path) -> Path:
    """The model in a folder of its own."""
    import mlflow

    with quiet_mlflow():
        mlflow.pyfunc.save_model(
            path=str(folder), python_model=str(SCRIPT), signature=signature(), pip_requirements=["mlflow"]
        )
    return folder
