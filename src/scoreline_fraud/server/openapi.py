"""The contract as an OpenAPI document: for callers, and for the fuzzer; MLflow's own says nothing about bodies."""

from typing import Any, Final, get_type_hints

from pydantic import BaseModel, create_model

from scoreline_fraud.serving.rules import Limits
from scoreline_fraud.serving.transactions import Answer, Transaction

__all__ = ["openapi"]

_REFUSED: Final = {
    "400": "No request: not JSON, no list under `inputs`",
    "401": "No API key, or a wrong one (nginx)",
    "415": "Not application/json (MLflow alone; nginx answers 400)",
    "503": "Busy or away: ask once more, then decide without the model (nginx, uvicorn)",
    "504": "Not answered in time (MLflow alone; nginx answers 503)",
}


_fields: Final[dict[str, Any]] = {name: (kind, ...) for name, kind in get_type_hints(Answer).items()}
_ANSWER: Final = create_model("Answer", **_fields)


def openapi(limits: Limits | None = None) -> dict[str, object]:
    """OpenAPI 3.1 of `/invocations` and `/ping`. A row that breaks `Transaction` is no 400 but answered "review"."""
    rows = {"type": "array", "items": _schema(Transaction), "maxItems": (limits or Limits()).max_rows}
    request = {"type": "object", "properties": {"inputs": rows}, "required": ["inputs"], "additionalProperties": False}
    answers = {"type": "array", "items": _schema(_ANSWER)}
    answer = {"type": "object", "properties": {"predictions": answers}, "required": ["predictions"]}
    refused = {code: {"description": text} for code, text in _REFUSED.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Card fraud decisions", "version": "1"},
        "paths": {
            "/invocations": {
                "post": {
                    "summary": "Allow, review or deny each posted transaction, in order",
                    "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
                    "responses": {
                        "200": {
                            "description": "One answer per row",
                            "content": {"application/json": {"schema": answer}},
                        },
                        **refused,
                    },
                }
            },
            "/ping": {"get": {"summary": "200 when the model is loaded", "responses": {"200": {"description": "Up"}}}},
        },
    }


def _schema(kind: type[BaseModel]) -> dict[str, object]:
    """Pydantic's schema, without the two bounds of `occurred_at` that JSON Schema has no words for."""
    found = kind.model_json_schema()
    return found | {
        "properties": {
            name: {key: value for key, value in field.items() if key not in {"ge", "lt"}}
            for name, field in found["properties"].items()
        }
    }
