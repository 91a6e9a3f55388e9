"""What tables and logs already hold stays readable: another value would make everybody due, or lose what is staged."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import pyarrow as pa

from logs import publication
from scoreline.hashing import fingerprint
from scoreline.pipeline.changes import for_next_run
from scoreline.pipeline.manifest import Lineage, Manifest, Slice, read_manifest
from scoreline.pipeline.staging import LEFT, PREFIX
from scoreline.sources.rules import ScoringRules
from scoreline.tables.commit_note import read_note
from scoreline.tables.history import Commit

MANIFEST = Manifest(
    run_id="r1",
    sequence=3,
    started_at="2026-07-01T03:00:00+00:00",
    slices=(Slice(0, (0, 1), 5),),
    reasons={"new": 5},
    whole_table=True,
    complete=True,
    users=5,
    buckets=64,
    lineage=Lineage("recommendations", 0, "films", "1", "user_history", 1, "abc", 20),
)


def test_the_hash_of_rules() -> None:
    assert ScoringRules(20, True, None, None).hash == "6d343821a864f6a1"
    assert ScoringRules(20, True, pa.array([1, 2]), pa.array(["a"]), {"depth": 3}).hash == "3dfccd37c85eaec3"


def test_the_name_of_staging() -> None:
    assert PREFIX + fingerprint({"target": ["t", 1], "k": 20}) == "_staging_c45762f469c1e068"


def test_the_moment_of_a_commit_in_the_note_of_a_publication() -> None:
    commit = Commit(7, datetime(2026, 7, 1, 3, 0, 0, 123_000, UTC), "MERGE", None)
    told = for_next_run(
        [commit],
        input_version=7,
        began=datetime(2026, 7, 1, tzinfo=UTC),
        complete=True,
        compared=True,
        whole_table=True,
        known=None,
    )
    note = publication(run_id="r1", sequence=3, attempt="a", **vars(told))
    assert json.loads(note.text()) == {
        "format": 1,
        "kind": "publish",
        "run_id": "r1",
        "sequence": 3,
        "attempt": "a",
        "complete": True,
        "input_at": 1_782_874_800_123,
        "oldest": "2026-07-01T00:00:00Z",
        "verified_at": "2026-07-01T00:00:00Z",
    }
    assert read_note(note.text()) == note


def test_the_note_of_a_run_is_read_again_and_one_of_another_version_is_none() -> None:
    said = asdict(MANIFEST)
    assert sorted(said) == [
        "buckets", "compared", "complete", "fraction", "lineage", "reasons", "run_id", "selection", "sequence",
        "slices", "started_at", "users", "waiting", "whole_table",
    ]  # fmt: skip
    assert read_manifest(said) == MANIFEST
    assert read_manifest({key: value for key, value in said.items() if key != "sequence"}) is None
    assert read_manifest(None) is None


def test_the_slice_of_departures_is_none_of_the_others() -> None:
    """It stands in commits of a staging table; the number of another slice would make departures look staged."""
    assert LEFT == -1
