"""Why a user got this list, or none: the run that made it done once more for one user, and taken apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scoreline.errors import ConfigurationError, InputError, RunFailed
from scoreline.models import artifacts
from scoreline.models.artifacts import FittedModel
from scoreline.operations.absent import absence_of, failure_of
from scoreline.operations.causes import DEEPEST, Causes, differences, longer, sums
from scoreline.operations.explanation import Absence, Cause, ExplainedItem, Explanation, Recomputed
from scoreline.operations.pinned_row import PinnedRow, pinned_row
from scoreline.operations.recompute import Listed, Worker, compared
from scoreline.operations.show import titles_of
from scoreline.operations.staged import unpublished
from scoreline.operations.why_not import reason_of
from scoreline.pipeline.manifest import Manifest, as_published
from scoreline.pipeline.published import published_table, run_of
from scoreline.scoring.loaded_model import is_shipped
from scoreline.sources.whole_numbers import typed_id
from scoreline.tables.commit_note import Publication
from scoreline.tables.history import Commit, published_commit
from scoreline.tables.names import HISTORY_HASH, RECOMMENDATIONS, SCORED_AT, USER_ID
from scoreline.tables.reading import Readers, TableReader, records
from scoreline.typed import typed

__all__ = ["explain_user"]

_CAUSES = 3  # of each item of a list


def explain_user(
    readers: Readers, user: str, item: str | None = None, *, run_id: str | None = None, why_not: str | None = None
) -> Explanation:
    """Explain a user's list as the table shows it, or as the run `run_id` left or staged it; or why there is none.

    item: only this one, with all events. why_not: an item that is not in it, and then no others. Raises InputError for
    an id that is none, a run that there is not or whose rows are gone, and an `item` that is not in the list.
    """
    settings = readers.settings
    if settings.input is not None:
        raise ConfigurationError(
            "This pipeline has an input section: it scores a table of yours, and no events can be said to have made "
            "its results."
        )
    user_id = typed_id(user, settings.keys.user_id, "user")
    asked, other = (None if said is None else typed_id(said, settings.keys.item_id, "item") for said in (item, why_not))
    if run_id is not None and (kept := unpublished(readers, run_id)) is not None:
        return _of_staged(readers, user_id, *kept, asked, other)
    target = published_table(readers, settings.name, run_id=run_id)
    _require_lists(target.name)
    commits = target.commits()
    shown = _shown(commits, run_id)
    row, notes = _row(target, user_id, commits, shown, run_id=run_id)
    if row is None:
        absent = absence_of(readers, user_id, target, commits, shown, version=_version(commits, shown, run_id))
        return Explanation(user_id, absent=absent)
    made = next((c.published for c in commits if run_of(c) is not None and run_of(c) == row["run_id"]), None)
    return _explained(readers, row, made, asked, other, (*notes, *(() if run_id else _since(readers, row))))


def _require_lists(target: str) -> None:
    if target != RECOMMENDATIONS:
        raise ConfigurationError(f"This pipeline publishes {target}, which no events of a history have made.")


def _of_staged(
    readers: Readers, user_id: Any, table: TableReader, manifest: Manifest, asked: Any, other: Any
) -> Explanation:
    """What a run that was not published has staged for a user; where that is nothing, the list of now."""
    run_id, lineage = manifest.run_id, manifest.lineage
    _require_lists(lineage.target)
    row = next(iter(records(table.rows(where={USER_ID: [user_id]}))), None)
    if row is None:
        item, why_not = (None if given is None else str(given) for given in (asked, other))
        found = explain_user(readers, str(user_id), item, why_not=why_not)
        said = f"Run {run_id}, which was not published, has staged nothing for this user: this is what readers see."
        return replace(found, notes=(said, *found.notes))
    if row["outcome"] == "failed":
        said = f"run {run_id} tried and failed with {row['code']}: {row['message']}"
        return Explanation(user_id, absent=Absence("failed", said, code=row["code"]))
    if row["outcome"] == "left":
        said = f"there is no history any more, and run {run_id} would have removed the list."
        return Explanation(user_id, absent=Absence("left", said))
    made = as_published(manifest, readers.settings.name)
    names = {"model_name": lineage.model, "model_version": lineage.model_version, "rules_hash": lineage.rules_hash}
    whole = {**row, **names, "run_id": run_id, SCORED_AT: manifest.began}
    note = "The run was not published: readers see another list, or none."
    return _explained(readers, whole, made, asked, other, [note], where="staged")


def _shown(commits: Sequence[Commit], run_id: str | None) -> Commit:
    """The publication that is looked at."""
    found = next((c for c in commits if run_of(c) == run_id), None) if run_id else published_commit(commits)
    if found is None:
        raise InputError("The table's log does not say which run readers see. Say which one: --run ID.")
    return found


def _version(commits: Sequence[Commit], shown: Commit, run_id: str | None) -> int:
    return shown.version if run_id else commits[0].version


def _row(
    target: TableReader, user_id: Any, commits: Sequence[Commit], shown: Commit, *, run_id: str | None
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The user's row, None if there is none; and what is to be said of where it comes from."""
    version, where = _version(commits, shown, run_id), {USER_ID: [user_id]}
    try:
        rows = records(target.rows(where=where, version=version))
        notes: tuple[str, ...] = ()
    except (InputError, RunFailed) as error:
        rows = [row for row in records(target.rows(where=where)) if row["run_id"] == run_id]
        if not rows:
            raise InputError(
                f"The rows that run {run_id} published, {target.location} version {version}, are not there any more "
                f"(scoreline vacuum removes what is old): what can be explained is the list of now, without --run."
            ) from error
        notes = (f"Version {version} is not there any more; the user's row is still that of run {run_id}.",)
    if len(rows) > 1:
        raise InputError(
            f"User {user_id} has {len(rows)} rows in {target.location}: {typed('run --verify')} leaves one."
        )
    if rows and run_id and rows[0]["run_id"] != run_id:
        notes = (*notes, f"Run {run_id} left the list as it was: it was up to date, not in the run's part, or failed.")
    return (rows[0] if rows else None), notes


def _since(readers: Readers, row: Mapping[str, Any]) -> list[str]:
    """What has happened to the user since the list was made."""
    notes = []
    if row["run_id"] is None or row[SCORED_AT] is None:
        return ["No run has made this row: somebody else has written it."]
    if (failed := failure_of(readers, row[USER_ID])) is not None and failed["failed_at"] > row[SCORED_AT]:
        notes.append(f"Run {failed['run_id']} has tried again and failed with {failed['code']}: {failed['message']}")
    now = readers.table("user_history").rows([HISTORY_HASH], {USER_ID: [row[USER_ID]]})
    if not now.num_rows:
        notes.append("The history has been removed since; the next run removes the list.")
    elif now[HISTORY_HASH][0].as_py() != row[HISTORY_HASH]:
        notes.append("The history has changed since; the next run makes another list.")
    return notes


def _explained(
    readers: Readers,
    row: Mapping[str, Any],
    made: Publication | None,
    asked: Any,
    other: Any,
    notes: Sequence[str],
    *,
    where: str = "published",
) -> Explanation:
    """The row's list, or one item of it, from what it was made from, and why `other` is not in it."""
    published = Listed.of(row)
    if asked is not None and asked not in published.items:
        raise InputError(
            f"Item {asked} is not in the list of user {row[USER_ID]}. To ask why: "
            f"{typed(f'explain {row[USER_ID]} --why-not {asked}')}"
        )
    # who asks why not has no need of the others
    wanted = (asked,) if asked is not None else published.items if other is None else ()
    worker = Worker()  # it starts while the registry is asked
    pinned = pinned_row(readers, row, made)
    model, history, task = _own(pinned), pinned.history, pinned.task
    again = worker.lists(task, history)[0] if task is not None and history is not None else None
    causes = Causes()
    if wanted and history is not None:
        exact = sums(model, history, published, wanted) if model is not None else None
        causes = exact or (causes if task is None else differences(worker, task, history, wanted))
    events = {"item_ids": []} if history is None else records(history)[0]
    ids = {*published.items, *events["item_ids"], *([] if other is None else [other])}
    titles = titles_of(readers.table("items"), ids)
    reason = None
    if other is not None:
        deep, length = _deep(worker, pinned, model, again or Listed())
        reason = reason_of(other, titles, published=published, pinned=pinned, model=model, deep=deep, asked=length)
    shown = _CAUSES if asked is None else len(events["item_ids"])
    return Explanation(
        user_id=row[USER_ID],
        run_id=row["run_id"],
        model=f"{row['model_name']} version {row['model_version']}",
        input_version=made.input_version if made else None,
        scored_at=row[SCORED_AT],
        source=row["source"],
        recomputed=_impossible(pinned)
        if again is None
        else compared(published, again, other_rules=pinned.other_rules, where=where),
        method=causes.method,
        events=None if history is None else len(events["item_ids"]),
        items=tuple(_item(published, item, causes, events, titles, shown=shown) for item in wanted),
        why_not=reason,
        notes=(*notes, *causes.notes),
    )


def _own(pinned: PinnedRow) -> FittedModel | None:
    """The arrays of a model of ours, without a line of the code that it was logged with; None of another model."""
    if pinned.folder is None or not is_shipped(pinned.folder):
        return None
    try:
        return artifacts.load(pinned.folder / "artifacts" / artifacts.NAME)
    except InputError:  # of another format: its own code still scores it
        return None


def _deep(worker: Worker, pinned: PinnedRow, model: FittedModel | None, again: Listed) -> tuple[Listed, int | None]:
    """The longest list that the model gives, and how long it might have been; None if it takes no such param."""
    length = DEEPEST if model is None else max(1, len(model.catalogue))
    deeper = None if pinned.task is None else longer(pinned.task, length)
    if deeper is None or pinned.history is None:
        return again, None
    return worker.lists(deeper, pinned.history)[0], length


def _impossible(pinned: PinnedRow) -> Recomputed:
    return Recomputed("impossible", " ".join(["The list cannot be computed again.", *pinned.gone]))


def _item(
    published: Listed, item: Any, causes: Causes, events: Mapping[str, Any], titles: Mapping[Any, str], *, shown: int
) -> ExplainedItem:
    adds = causes.adds.get(item, [])
    rest = [value for _, value in adds[shown:]]
    return ExplainedItem(
        rank=published.items.index(item) + 1,
        item_id=item,
        title=titles.get(item),
        score=published.by_item[item],
        place=causes.places.get(item),
        causes=tuple(_cause(events, at, value, titles) for at, value in adds[:shown]),
        others=len(rest),
        rest=sum(value or 0.0 for value in rest) if rest and causes.method == "sum" else None,
    )


def _cause(events: Mapping[str, Any], at: int, adds: float | None, titles: Mapping[Any, str]) -> Cause:
    item = events["item_ids"][at]
    return Cause(item, titles.get(item), events["event_times"][at], events["weights"][at], adds)
