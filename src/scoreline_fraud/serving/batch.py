"""The served model on a whole table: what its `predict_arrow` does, and the columns it takes and gives.

The batch pipeline calls it with a table of payments to which their cards' and terminals' figures are joined
(`nightly.payments`). Everything else is the server's code: checks, features, score, thresholds and reasons.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa

from scoreline_fraud.serving.features import CARD_COLUMNS, TERMINAL_COLUMNS
from scoreline_fraud.serving.rules import ServingRules, rules_of
from scoreline_fraud.serving.scorer import Scorer

__all__ = ["INPUTS", "OUTPUTS", "PARAM", "batch_rules", "judged", "rules_text"]

POSTED: Final = {
    "user_id": "string",  # the pipeline's name for a table's key: the transaction's id
    "card_id": "string",
    "terminal_id": "string",
    "amount": "double",
    "occurred_at": "datetime",
    "card_count_24h": "long",
    "card_amount_24h": "double",
}
INPUTS: Final = POSTED | dict.fromkeys((*CARD_COLUMNS, *TERMINAL_COLUMNS), "double") | {"features_as_of": "string"}
OUTPUTS: Final = pa.schema(
    [
        ("fraud_probability", pa.float64()),  # null where the model was not asked
        ("decision", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("features_as_of", pa.string()),  # null where the payment itself is malformed
    ]
)
PARAM: Final = "rules"


@dataclass(frozen=True)
class _Joined:
    """The figures that were joined to one Arrow batch, in the shape of a snapshot."""

    as_of_s: float
    as_of_text: str
    cards: Mapping[str, tuple[float, ...]]
    terminals: Mapping[str, tuple[float, ...]]

    def card(self, card_id: str) -> tuple[float, ...] | None:
        return self.cards.get(card_id)

    def terminal(self, terminal_id: str) -> tuple[float, ...] | None:
        return self.terminals.get(terminal_id)


def judged(scorer: Scorer, batch: pa.RecordBatch, params: Mapping[str, object]) -> pa.RecordBatch:
    """`OUTPUTS` for a batch of `INPUTS`, row by row; raises on what is our bug, for the pipeline to find the row."""
    rules = batch_rules(scorer.rules, str(params.get(PARAM) or "{}"))
    moments = batch.column("features_as_of").unique().to_pylist()
    if len(moments) != 1 or moments[0] is None:
        raise ValueError(f"features_as_of has to be one midnight, found {moments[:3]}")
    known = _Joined(
        datetime.fromisoformat(moments[0]).timestamp(),
        moments[0],
        _figures(batch, "card_id", CARD_COLUMNS),
        _figures(batch, "terminal_id", TERMINAL_COLUMNS),
    )
    posted = batch.select(list(POSTED)).rename_columns(["transaction_id", *list(POSTED)[1:]]).to_pylist()
    answers = dataclasses.replace(scorer, source=None, rules=rules, shadow=None, observers=()).judge(posted, known)
    return pa.RecordBatch.from_pylist([dict(answer) for answer in answers], schema=OUTPUTS)


def batch_rules(logged: ServingRules, text: str) -> ServingRules:
    """The model's rules with what `text` (JSON) replaces, key by key, and without the server's clock."""
    rules = rules_of(logged.model_dump(mode="json") | json.loads(text))
    limits = rules.limits.model_copy(update={"max_clock_difference_s": None})
    return rules.model_copy(update={"limits": limits})


def rules_text(rules: ServingRules) -> str:
    """Those of a server's rules that hold for a table, too: thresholds, limits, the age of features."""
    chosen = rules.model_dump(mode="json", include={"decisions": True, "limits": True, "features": {"max_age_hours"}})
    return json.dumps(chosen, sort_keys=True)


def _figures(batch: pa.RecordBatch, key: str, columns: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    figures = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
    rows = zip(batch.column(key).to_pylist(), figures, strict=True)
    return {found: row for found, row in rows if found is not None and row[0] is not None}
