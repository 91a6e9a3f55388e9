"""docs/tables.md, from the schemas: every column of every table with its type and its comment.

python tests/tables_page.py    # writes it anew
"""

from collections.abc import Callable
from pathlib import Path

from pyspark.sql import types as T

from scoreline.tables import schema
from scoreline.tables.schema import Keys

PAGE = Path(__file__).parents[1] / "docs" / "tables.md"
HEAD = """# Tables

Written by `python tests/tables_page.py` from `src/scoreline/tables/schema.py`; a test compares the two. All are Delta
tables, in the folder `tables.root` or in the catalogue `tables.catalog`. The types of ids are those that `keys` says.
Times are in UTC. No array has a null in it. Where null is `never`, Delta refuses one.
"""
_LONG, _TEXT = Keys("long", "long"), Keys("string", "string")
_ANSWER = [T.StructField("prediction", T.DoubleType(), True, {"comment": "here: the one number of a regression"})]
_ERRORS, _REASONS = "codes.md#codes-in-scoring_errors", "codes.md#reasons-in-quarantine"

TABLES: dict[str, tuple[str, Callable[[Keys], T.StructType]]] = {
    "user_history": (
        "One row per user: what is known of them. `ingest` merges new events into it.",
        schema.user_history,
    ),
    "recommendations": (
        "One row per user: the list, and what it was made from. A run publishes it in one commit.",
        schema.recommendations,
    ),
    "predictions": (
        "The same for a model that is no recommender: the outputs of its signature stand in place of the list.",
        lambda keys: schema.recommendations(keys, _ANSWER),
    ),
    "quarantine": (
        f"Bad rows of the input, each once, with every rule it breaks ([reasons]({_REASONS})).",
        lambda _: schema.quarantine(),
    ),
    "scoring_errors": (
        f"One row per run and user who failed in it ([codes]({_ERRORS})).",
        schema.scoring_errors,
    ),
    "items": (
        "The catalogue, one row per item. `ingest --items` replaces it.",
        schema.items,
    ),
    "runs": (
        "One row per run and rollback. It is for people: no step decides by it.",
        lambda _: schema.runs(),
    ),
    "ingested_files": (
        "One row per file that `ingest --new` has taken, or could not take. A file that is not in it is new.",
        lambda _: schema.ingested_files(),
    ),
    "_staging_…": (
        "What a run has scored and not yet published. The name ends with a fingerprint of the run's inputs. It is "
        "dropped after the publication, or after a day.",
        schema.staged,
    ),
}


def page() -> str:
    lines = [HEAD]
    for name, (text, made) in TABLES.items():
        rows = [row(ours, theirs) for ours, theirs in zip(made(_LONG), made(_TEXT), strict=True)]
        lines += [
            f"## {name}",
            "",
            text,
            "",
            "| column | type | null | meaning |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def row(ours: T.StructField, theirs: T.StructField) -> str:
    kinds = dict.fromkeys(field.dataType.simpleString() for field in (ours, theirs))
    null = "may be" if ours.nullable else "never"
    return f"| `{ours.name}` | {' or '.join(f'`{kind}`' for kind in kinds)} | {null} | {ours.metadata.get('comment')} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
