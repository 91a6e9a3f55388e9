"""Which files are new: by path, size and time, then by their bytes."""

from datetime import UTC, datetime, timedelta

import pytest

from scoreline.engine.listing import ListedFile
from scoreline.ingest.arrivals import Remembered, by_content, looks_new

NOW = datetime(2026, 7, 1, tzinfo=UTC)
SETTLE = timedelta(seconds=30)
MICROS = int(NOW.timestamp()) * 1_000_000


def file(name: str, *, size: int = 5, age: float = 3600) -> ListedFile:
    return ListedFile(name, size, MICROS - int(age * 1_000_000))


def known(of: ListedFile, digest: str = "d", *, refused: str | None = None) -> Remembered:
    return Remembered(of.size, of.modified_us, digest, refused)


def test_a_file_that_was_taken_and_is_as_it_was_is_not_new() -> None:
    old, larger, later = file("old"), file("larger"), file("later")
    memory = {"old": known(old), "larger": known(file("larger", size=4)), "later": known(file("later", age=7200))}
    looks = looks_new([old, larger, later], memory, now=NOW, settle=SETTLE)
    assert (looks.new, looks.again, looks.waiting) == ([larger, later], [], {})


def test_a_file_that_was_refused_is_tried_again_or_is_new_if_it_has_changed() -> None:
    same, mended = file("same"), file("mended")
    memory = {"same": known(same, refused="why"), "mended": known(file("mended", size=4), refused="why")}
    looks = looks_new([same, mended], memory, now=NOW, settle=SETTLE)
    assert (looks.new, looks.again) == ([mended], [same])


@pytest.mark.parametrize(("age", "waits"), [(29, True), (30, False), (0, True), (-29, True), (-30, False)])
def test_a_file_that_was_changed_just_now_waits(age: int, waits: bool) -> None:
    """Also one of the near future; what was copied with a time of the far future does not wait for ever."""
    looks = looks_new([file("a", age=age)], {}, now=NOW, settle=SETTLE)
    assert bool(looks.waiting) is waits
    assert bool(looks.new) is not waits


def test_an_empty_file_waits_however_old_it_is() -> None:
    assert looks_new([file("a", size=0)], {}, now=NOW, settle=SETTLE).waiting == {"a": "it is empty"}


def test_files_are_what_their_bytes_are() -> None:
    renamed, copy, first, second, changed, touched = map(
        file, ("renamed", "copy", "first", "second", "changed", "touched")
    )
    digests = {
        "renamed": "gone", "copy": "there", "first": "n", "second": "n", "changed": "other", "touched": "t",
    }  # fmt: skip
    memory = {
        "was": known(renamed, "gone"), "original": known(copy, "there"), "changed": known(changed, "c"),
        "touched": known(touched, "t"), "bad": known(first, "n", refused="why"),
    }  # fmt: skip
    found = by_content([renamed, copy, first, second, changed, touched], digests, memory)
    assert found.take == [first, changed]
    assert found.changed == ["changed"]
    assert found.same == {"renamed": "was", "copy": "original", "second": "first", "touched": "touched"}


def test_files_that_cannot_be_read_are_not_the_same() -> None:
    assert by_content([file("a"), file("b")], {}, {}).take == [file("a"), file("b")]
