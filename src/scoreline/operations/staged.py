"""What a run has staged and not published, as long as it is there."""

from scoreline.errors import InputError
from scoreline.operations.report.facts import recorded
from scoreline.pipeline.manifest import Manifest, read_manifest
from scoreline.tables.commit_note import Staged
from scoreline.tables.reading import Readers, TableReader, records

__all__ = ["slices_staged", "staged", "staged_by", "unpublished"]


def staged(readers: Readers, name: object) -> tuple[TableReader, Manifest] | None:
    """The staging table of this name, as a row of `runs` has it, and its manifest; None if it is gone."""
    if not isinstance(name, str) or not (table := readers.table(name)).exists():
        return None
    notes = (commit.note for commit in table.commits())
    manifests = (read_manifest(note.manifest) for note in notes if isinstance(note, Staged))
    return next(((table, manifest) for manifest in manifests if manifest is not None), None)


def staged_by(readers: Readers, run_id: str) -> tuple[TableReader, Manifest] | None:
    """The staged rows of a run that was killed before it could record where they are, in the folder on this machine."""
    names = sorted(folder.name for folder in readers.settings.home.glob("_staging_*"))
    there = filter(None, (staged(readers, name) for name in names))
    return next((found for found in there if found[1].run_id == run_id), None)


def slices_staged(table: TableReader, manifest: Manifest) -> tuple[int, int]:
    """How many slices of a run are staged, and of how many."""
    there = {commit.note.slice for commit in table.commits() if isinstance(commit.note, Staged)}
    return len(there & {part.number for part in manifest.slices}), len(manifest.slices)


def unpublished(readers: Readers, run_id: str) -> tuple[TableReader, Manifest] | None:
    """The staged rows of a run that was not published; None if the run log does not say that there is such a run.

    Raises InputError if there is, and its rows are gone.
    """
    log = readers.table("runs")
    where = {"kind": ["run", "approve"], "run_id": [run_id]}
    runs = [recorded(row) for row in records(log.rows(where=where))] if log.exists() else []
    if not runs or any(run.state in ("published", "approved") for run in runs):
        return None
    if found := next(filter(None, (staged(readers, run.figures.get("staging")) for run in runs)), None):
        return found
    last = max(runs, key=lambda run: run.started_at)
    raise InputError(
        f"Run {run_id} has published nothing ({last.state.replace('_', ' ')}), and has no staged rows: these stay for "
        "a day, or until a run is published. Without --run it is what readers see that is explained."
    )
