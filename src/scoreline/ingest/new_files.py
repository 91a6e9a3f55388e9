"""`ingest --new`: the files of a place that have not been taken yet, each once.

First the histories are merged, then the files are remembered. Whoever is killed in between reads them again, and
changes nothing by it: a history is a function of the set of events. The other order could lose a file: of two hosts one
would remember what the other was only about to merge.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pyspark.sql import functions as F

from scoreline.config.settings import EventsSettings
from scoreline.context import Context
from scoreline.engine.failures import explained
from scoreline.engine.filesystem import shown
from scoreline.engine.frames import collected, framed
from scoreline.engine.listing import Files, ListedFile, digests, listed, looked_again
from scoreline.errors import InputError, RunFailed
from scoreline.ingest.arrivals import Remembered, by_content, looks_new
from scoreline.ingest.ingest import IngestReport, merge_source
from scoreline.redaction import without_credentials
from scoreline.report import Report
from scoreline.sources.heads import require_no_table, unreadable
from scoreline.tables import schema
from scoreline.tables.delta import Table, Tables

AT_ONCE = 1000  # files of one commit
MOST_REFUSED = 20  # files that are found out in one ingest; what fails together after them is left for next time
_SHOWN = 5  # files in a text
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class NewFilesReport(Report):
    """What became of the files of a place; what is in none of the fields was taken before.

    `parts`: what was ingested, one for each commit. `changed`: files that were taken again, since their bytes are
    others. `same`: files by the one with the same bytes, which was taken in their place. `waiting`: files left for next
    time, and why. `refused`: files that could not be taken, and why; they are tried again next time, after the others.
    """

    source: str
    listed: int
    taken: int
    parts: tuple[IngestReport, ...] = ()
    changed: tuple[str, ...] = ()
    same: Mapping[str, str] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def users_changed(self) -> int:
        """Histories that changed, counted once for each commit."""
        return sum(part.users_changed for part in self.parts)

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.listed:,} files, {self.taken:,} new ones taken",
            *_some(self.changed, "has changed since it was taken, and was taken again"),
            *_some(self.same, "has the bytes of {}, and was not taken again", self.same),
            *_some(self.waiting, "is left for next time: {}", self.waiting),
            *_some(self.refused, "could not be taken: {}", self.refused),
            *map(str, self.parts),
        ]
        return "\n".join(lines)


def _some(files: Sequence[str] | Mapping[str, str], what: str, of_each: Mapping[str, str] | None = None) -> list[str]:
    lines = [f"  {path} {what.format((of_each or {}).get(path))}" for path in list(files)[:_SHOWN]]
    return [*lines, f"  ... and {len(files) - _SHOWN:,} more"] if len(files) > _SHOWN else lines


def take_new_files(context: Context, settings: EventsSettings, place: str) -> NewFilesReport:
    """Take the files of a folder or a pattern that have not been taken, for a caller who holds the lock.

    A file that cannot be read stops no other. Raises RunFailed if nothing could be taken, and the reason may be in none
    of the files.
    """
    with explained(f"{place} could not be listed"):
        files = sorted(listed(context.spark, place), key=lambda file: (file.modified_us, file.address))
        require_no_table(context.spark, place)
    return _take_new(context, settings, place, files)


@dataclass(frozen=True)
class _Outcome:
    """What has become of files so far, by their addresses."""

    parts: list[IngestReport] = field(default_factory=list)
    merged: set[str] = field(default_factory=set)
    waiting: dict[str, str] = field(default_factory=dict)
    refused: dict[str, InputError | RunFailed] = field(default_factory=dict)


def _take_new(context: Context, settings: EventsSettings, place: str, files: Sequence[ListedFile]) -> NewFilesReport:
    table = remembered_files(context.tables)
    memory = _memory(table)
    looks = looks_new(files, memory, now=context.now, settle=settings.settle)
    outcome = _Outcome(waiting=dict(looks.waiting))
    with explained(f"the files of {place} could not be read"):
        digest = digests(context.spark, [file.address for file in (*looks.new, *looks.again)])
    content = by_content(looks.new, digest, memory)
    again = sorted(looks.again, key=lambda file: memory[file.address].tried_us)[:MOST_REFUSED]
    for group in _groups(context, settings, content.take, again, outcome):
        _take(context, settings, place, group, outcome)
    taken = {path for path, known in memory.items() if known.refused is None} | outcome.merged
    same = {path: other for path, other in content.same.items() if other in taken}
    _remember(context, table, place, files, digest, same, outcome)
    refused = {shown(path): _why(path, place, str(failure)) for path, failure in outcome.refused.items()}
    context.record.say(files_taken=len(outcome.merged), **({"files_refused": refused} if refused else {}))
    _require_a_file_at_fault(outcome, memory)
    tried_before = {shown(file.address) for file in again}
    first_time = {path: why for path, why in refused.items() if path not in tried_before}
    context.record.left = _left(first_time, len(outcome.merged))
    return NewFilesReport(
        source=without_credentials(place),
        listed=len(files),
        taken=len(outcome.merged),
        parts=tuple(outcome.parts),
        changed=tuple(shown(path) for path in content.changed if path in outcome.merged),
        same={shown(path): shown(other) for path, other in same.items() if path != other},
        waiting={shown(path): why for path, why in outcome.waiting.items()},
        refused=refused,
    )


def _groups(
    context: Context,
    settings: EventsSettings,
    files: Sequence[ListedFile],
    again: Sequence[ListedFile],
    outcome: _Outcome,
) -> Iterator[Sequence[ListedFile]]:
    """What is read together: files that are what they should be by their first bytes; then each that was refused."""
    encoding = settings.encoding if settings.format == "csv" else "UTF-8"
    reasons = unreadable(context.spark, [file.address for file in files], settings.format, encoding)
    outcome.refused.update({path: InputError(why) for path, why in reasons.items()})
    good = [file for file in files if file.address not in reasons]
    yield from (good[begin : begin + AT_ONCE] for begin in range(0, len(good), AT_ONCE))
    yield from ([file] for file in again)


def _take(
    context: Context, settings: EventsSettings, place: str, files: Sequence[ListedFile], outcome: _Outcome
) -> None:
    """Merge files in one commit; by halves, if they cannot be read together, so that one stops no other."""
    addresses = tuple(file.address for file in files)
    try:
        outcome.parts.append(merge_source(context, Files(place, addresses), settings))
    except (InputError, RunFailed) as error:
        if len(files) == 1:
            outcome.refused[addresses[0]] = error
        elif len(outcome.refused) >= MOST_REFUSED:
            outcome.waiting.update(dict.fromkeys(addresses, f"{len(outcome.refused)} others could not be taken"))
        else:
            for half in (files[: len(files) // 2], files[len(files) // 2 :]):
                _take(context, settings, place, half, outcome)
        return
    now = {file.address: file for file in looked_again(context.spark, addresses)}
    for file in files:
        if now.get(file.address) == file:
            outcome.merged.add(file.address)
        else:
            outcome.waiting[file.address] = "it was changed while it was read"


def _why(path: str, place: str, said: str) -> str:
    """What is said of a file, without its name or that of the place."""
    return said.removeprefix(shown(path)).removeprefix(place).lstrip(": ")


def _left(refused: Mapping[str, str], taken: int) -> str | None:
    """What is told of files that could not be taken, once: in the next ingest they are no news."""
    lines = [line.strip() for line in _some(refused, "could not be taken: {}", refused)]
    return "\n".join([*lines, f"Others were taken: {taken:,}."]) if lines else None


def _require_a_file_at_fault(outcome: _Outcome, memory: Mapping[str, Remembered]) -> None:
    """Raise what went wrong where nothing was taken and it may be in no file: a full disk, a server that is gone."""
    first_time = [why for path, why in outcome.refused.items() if path not in memory]
    failed = next((why for why in first_time if isinstance(why, RunFailed)), None)
    if failed is not None and not outcome.merged:
        raise failed


def remembered_files(tables: Tables) -> Table:
    """`ingested_files`, created on first use."""
    table = tables.table("ingested_files")
    table.create(schema.ingested_files())
    return table


def _memory(table: Table) -> dict[str, Remembered]:
    times = {name: F.unix_micros(name) for name in ("modified_at", "ingested_at")}
    rows = table.read().select("path", "size", "digest", "refused", *[at.alias(name) for name, at in times.items()])
    return {
        row["path"]: Remembered(row["size"], row["modified_at"], row["digest"], row["refused"], row["ingested_at"])
        for row in collected(rows).to_pylist()
    }


def _remember(
    context: Context,
    table: Table,
    place: str,
    files: Sequence[ListedFile],
    digest: Mapping[str, str],
    same: Mapping[str, str],
    outcome: _Outcome,
) -> None:
    """Write down what became of the files."""
    done = [file for file in files if file.address in outcome.merged | outcome.refused.keys() | same.keys()]
    if not done:
        return
    refused = {path: _why(path, place, str(failure)) for path, failure in outcome.refused.items()}
    columns: dict[str, Sequence[object]] = {
        "path": [file.address for file in done],
        "size": [file.size for file in done],
        "modified_at": [_EPOCH + timedelta(microseconds=file.modified_us) for file in done],
        "digest": [digest.get(file.address) for file in done],
        "same_as": [same.get(file.address) for file in done],
        "refused": [refused.get(file.address) for file in done],
        "ingested_at": [context.now] * len(done),
    }
    with explained(f"{table.location} could not be written"):
        table.upsert(framed(context.spark, columns, schema.ingested_files()), "path")
