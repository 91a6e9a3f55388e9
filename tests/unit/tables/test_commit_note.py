"""What a commit says is written whole and read as far as it is understood."""

import json

import pytest

from logs import noted, publication
from scoreline.tables.commit_note import Ingested, Publication, Repaired, Rollback, Staged, Verified, read_note

NOTES = [
    publication(run_id="r", sequence=3, complete=True, broken=["a gate"]),
    Rollback(sequence=4, base_version=3, to_version=1, to_run="r"),
    Ingested(columns=["user", "item"], updated_at="2026-07-01T03:00:00Z"),  # type: ignore[arg-type]
    Verified(base_version=2, verified_at=None),
    Repaired(users=2),
    Staged(slice=-1, manifest={"run_id": "r", "slices": [{"number": 0}]}),
]


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.kind)
def test_a_note_is_read_as_it_was_written(note: Publication) -> None:
    assert read_note(note.text()) == note


@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", '"publish"', "{}", '{"kind": "theirs"}', '{"kind": 1}'])
def test_a_strangers_note_says_nothing(text: str | None) -> None:
    assert read_note(text) is None


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"sequence": "3"}, {"sequence": None}),
        ({"sequence": 3.0}, {"sequence": None}),
        ({"sequence": True}, {"sequence": None}),
        ({"complete": 1}, {"complete": None}),
        ({"oldest": "2026-07-01T03:00:00"}, {"oldest": None}),
        ({"oldest": "last night"}, {"oldest": None}),
        ({"model": 7, "sequence": 3}, {"model": None, "sequence": 3}),
        ({"later": "unknown", "sequence": 3}, {"sequence": 3}),
        ({"format": 2, "sequence": 3}, {"format": 2, "sequence": 3}),
    ],
    ids=json.dumps,
)
def test_what_is_not_understood_is_none_and_the_rest_stands(said: dict[str, object], read: dict[str, object]) -> None:
    note = noted(kind="publish", run_id="r", **said)
    assert isinstance(note, Publication)
    assert {name: getattr(note, name) for name in ["run_id", *read]} == {"run_id": "r", **read}


def test_two_attempts_at_one_commit_are_told_apart() -> None:
    assert Rollback(sequence=1, base_version=0, to_version=0, to_run=None).attempt is not None
    assert publication().attempt != publication().attempt
