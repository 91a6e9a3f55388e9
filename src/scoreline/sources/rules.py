"""The rules of a pipeline: what is asked of the model besides the history. Who was scored by other rules is due."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from scoreline.config.settings import ScoringSettings
from scoreline.config.sources import KeyType
from scoreline.errors import InputError
from scoreline.hashing import fingerprint
from scoreline.sources.whole_numbers import whole
from scoreline.tables.names import KEY_TYPES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class ScoringRules:
    """k, exclusions, item lists and the model's own params, read once at the run's start; `hash` changes with them."""

    k: int
    exclude_seen: bool
    allowed: pa.Array | None
    blocked: pa.Array | None
    own: Mapping[str, bool | int | float | str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        lists = [None if ids is None else ids.to_pylist() for ids in (self.allowed, self.blocked)]
        return fingerprint([self.k, self.exclude_seen, *lists, *([dict(self.own)] if self.own else [])])

    def params(self, understood: frozenset[str]) -> dict[str, object]:
        """What is passed to the model: those of its params that we know, and what the configuration says for others."""
        if unknown := sorted(set(self.own) - understood):
            declared = ", ".join(sorted(understood)) or "none"
            raise InputError(f"scoring.params.{unknown[0]}: the model declares no such param; it declares {declared}.")
        given = {
            "k": self.k,
            "exclude_seen": self.exclude_seen,
            "allowed_items": [] if self.allowed is None else self.allowed.to_pylist(),
            "blocked_items": [] if self.blocked is None else self.blocked.to_pylist(),
        }
        return {name: value for name, value in given.items() if name in understood} | dict(self.own)


def read_rules(session: "Callable[[], SparkSession]", scoring: ScoringSettings, kind: KeyType) -> ScoringRules:
    """The rules as the configuration and its item lists say now; raises InputError for a list that cannot be read.

    session: asked for where a list is a table. kind: of the ids of items.
    """
    return ScoringRules(
        k=scoring.k,
        exclude_seen=scoring.exclude_seen,
        allowed=_item_list(session, kind, scoring.allowed_items, "scoring.allowed_items"),
        blocked=_item_list(session, kind, scoring.blocked_items, "scoring.blocked_items"),
        own=scoring.params,
    )


def _item_list(session: "Callable[[], SparkSession]", kind: KeyType, source: str | None, key: str) -> pa.Array | None:
    """Ids from a text file (one per line), or from the column `item_id` of a table; sorted, each once."""
    if source is None:
        return None
    local = Path(source).expanduser()
    texts = _ids_of_file(local, key) if local.is_file() else _ids_of_table(session, kind, source, key)
    if not texts:
        raise InputError(f"{key}: {source} has no item in it. Remove the key to have no such rule.")
    if kind == "long":
        return pa.array(sorted({_whole(value, source, key) for value in texts}), KEY_TYPES[kind])
    return pa.array(sorted(set(texts)), KEY_TYPES[kind])


def _ids_of_file(path: Path, key: str) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError:
        raise InputError(f"{key}: {path} is no text in UTF-8; expected a file with an id per line.") from None
    return [line for line in lines if line and line != "item_id"]


def _ids_of_table(session: "Callable[[], SparkSession]", kind: KeyType, source: str, key: str) -> list[str]:
    if "/" in source or "." not in source:
        raise InputError(
            f"{key}: {source} is no file; expected a text file with an id per line, or catalog.schema.table."
        )
    from scoreline.engine.failures import explained
    from scoreline.engine.sql import quoted_name
    from scoreline.sources.values import key as key_of
    from scoreline.sources.values import require_kinds, text

    spark = session()
    with explained(f"{key}: {source} could not be read"):
        rows = spark.read.table(quoted_name(source))
        if "item_id" not in rows.columns:
            raise InputError(f"{key}: {source} has no column item_id; it has {', '.join(rows.columns)}.")
        require_kinds(rows.schema, {"item_id": "item_id"}, f"{key}: {source}")
        found = key_of("item_id", rows.schema["item_id"].dataType, kind)
        pairs = rows.select(found.cast("string"), text("item_id")).distinct().collect()
        # what is no id comes as it is written, for the message
        return [said if given is None else given for given, said in pairs if said]


def _whole(value: str, source: str, key: str) -> int:
    if (number := whole(value)) is None:
        raise InputError(f"{key}: {source} has {value!r}, and item ids are whole numbers (keys.item_id: long).")
    return number
