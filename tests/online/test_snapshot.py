import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from online.conftest import World
from scoreline_fraud.serving.errors import ServingError
from scoreline_fraud.serving.features import CARD_COLUMNS, TERMINAL_COLUMNS
from scoreline_fraud.serving.snapshot import Snapshot, SnapshotSource, publish, remove_old, write_snapshot


def write(path: Path, *, figure: float = 1.0, day: int = 1) -> Path:
    return write_snapshot(
        path,
        as_of=datetime(2026, 3, day, tzinfo=UTC),
        cards=[("c-1", [figure] * len(CARD_COLUMNS))],
        terminals=[("m-1", [figure] * len(TERMINAL_COLUMNS))],
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    snapshot = Snapshot(write(tmp_path / "a.sqlite", figure=2.5))
    assert snapshot.card("c-1") == (2.5,) * len(CARD_COLUMNS)
    assert snapshot.terminal("m-1") == (2.5,) * len(TERMINAL_COLUMNS)
    assert snapshot.card("m-1") is None
    assert snapshot.as_of_text == "2026-03-01T00:00:00+00:00"


def test_many_threads_read_at_once(world: World) -> None:
    snapshot, cards = Snapshot(world.snapshot), list(world.rows["card_id"].unique())
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(snapshot.card, cards * 20))
    assert all(row is not None for row in found)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        write_snapshot(tmp_path / "a.sqlite", as_of=datetime(2026, 3, 1, tzinfo=UTC),
                       cards=[("c", [0.0] * 6), ("c", [0.0] * 6)], terminals=[])  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_new_snapshot_is_taken_without_a_restart(tmp_path: Path) -> None:
    publish(write(tmp_path / "a.sqlite", figure=1.0), tmp_path / "current.sqlite")
    source = SnapshotSource(tmp_path / "current.sqlite", recheck_s=0)
    first = source.current()
    publish(write(tmp_path / "b.sqlite", figure=2.0, day=2), tmp_path / "current.sqlite")
    second = source.current()
    assert first is not None
    assert second is not None
    assert (first.card("c-1") or ())[0] == 1.0  # the old one can still be read by who holds it
    assert (second.card("c-1") or ())[0] == 2.0


def test_an_unreadable_new_file_does_not_replace_a_good_one(tmp_path: Path) -> None:
    name = tmp_path / "current.sqlite"
    publish(write(tmp_path / "a.sqlite"), name)
    source = SnapshotSource(name, recheck_s=0)
    good = source.current()
    (tmp_path / "b.sqlite").write_bytes(b"not a database, but long enough to look at" * 100)
    publish(tmp_path / "b.sqlite", name)
    assert source.current() is good


def test_a_missing_file_is_no_snapshot_until_it_comes(tmp_path: Path) -> None:
    source = SnapshotSource(tmp_path / "current.sqlite", recheck_s=0)
    assert source.current() is None
    publish(write(tmp_path / "a.sqlite"), tmp_path / "current.sqlite")
    assert source.current() is not None
    (tmp_path / "current.sqlite").unlink()
    assert source.current() is None


@pytest.mark.parametrize("content", [b"", b"garbage" * 500])
def test_what_is_no_snapshot_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.sqlite").write_bytes(content)
    with pytest.raises(ServingError, match=r"a.sqlite is no feature snapshot"):
        Snapshot(tmp_path / "a.sqlite")


def test_a_snapshot_of_another_format_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.sqlite") as other:
        other.execute("CREATE TABLE meta (format TEXT, as_of TEXT)")
        other.execute("INSERT INTO meta VALUES ('another', '2026-01-01T00:00:00+00:00')")
    other.close()
    with pytest.raises(ServingError, match="has format 'another'"):
        Snapshot(tmp_path / "a.sqlite")


def test_an_older_snapshot_does_not_replace_a_newer_one_unless_the_name_was_removed(tmp_path: Path) -> None:
    name = tmp_path / "current.sqlite"
    old, new = write(tmp_path / "a.sqlite"), write(tmp_path / "b.sqlite", day=2)
    publish(new, name)
    source = SnapshotSource(name, recheck_s=0)
    good = source.current()
    publish(old, name)
    assert source.current() is good
    name.unlink()
    assert source.current() is None
    publish(old, name)
    back = source.current()
    assert back is not None
    assert back.as_of == Snapshot(old).as_of


def test_an_error_that_passes_is_tried_again(tmp_path: Path) -> None:
    """As after too many open files, or a stale handle: the file is the same, and can be read a moment later."""
    name = tmp_path / "current.sqlite"
    publish(write(tmp_path / "a.sqlite"), name)
    source = SnapshotSource(name, recheck_s=0)
    good = source.current()
    newer = write(tmp_path / "b.sqlite", day=2)
    content, stat = newer.read_bytes(), newer.stat()
    newer.chmod(0o644)
    newer.write_bytes(b"x" * len(content))
    os.utime(newer, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    publish(newer, name)
    assert source.current() is good
    newer.write_bytes(content)
    os.utime(newer, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = source.current()
    assert found is not None
    assert found is not good


def test_old_snapshots_are_removed_and_the_one_in_use_is_not(tmp_path: Path) -> None:
    name = tmp_path / "current.sqlite"
    for day in range(1, 6):
        write(tmp_path / f"features-2026-03-0{day}.sqlite", day=day)
    publish(tmp_path / "features-2026-03-01.sqlite", name)
    remove_old(tmp_path, name, keep=2)
    assert sorted(path.name for path in tmp_path.glob("features-*")) == [
        f"features-2026-03-0{day}.sqlite" for day in (1, 4, 5)
    ]
