"""Which table a pipeline has published to, by the tables' logs; whoever reads these."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from scoreline.errors import InputError, Mistyped
from scoreline.tables.history import Commit
from scoreline.tables.names import PUBLISHED
from scoreline.typed import typed

__all__ = ["is_of", "published_table", "run_of", "target_of"]


class _Logged(Protocol):
    @property
    def location(self) -> str: ...

    def exists(self) -> bool: ...

    def commits(self) -> Sequence[Commit]: ...


L_co = TypeVar("L_co", bound=_Logged, covariant=True)
L = TypeVar("L", bound=_Logged)


class _Tables(Protocol[L_co]):
    def table(self, name: str, /) -> L_co: ...


def target_of(tables: _Tables[L], pipeline: str) -> L | None:
    """As `published_table`; None before the first publication."""
    try:
        return published_table(tables, pipeline)
    except InputError:
        return None


def published_table(tables: _Tables[L], pipeline: str, *, run_id: str | None = None) -> L:
    """The table that a pipeline publishes to: the one with the run, or that of its newest publication.

    What kind of table it is a model's signature decides when a run opens (`pinned_model`), and the commit says
    afterwards.
    Raises InputError if the pipeline has published to none.
    """
    newest: tuple[datetime, L] | None = None
    for table in (tables.table(name) for name in PUBLISHED):
        runs = [c for c in table.commits() if is_of(c, pipeline)] if table.exists() else []
        named = next((c for c in runs if run_id in (None, run_of(c))), None)
        if named is not None and (newest is None or named.at > newest[0]):
            newest = (named.at, table)
    if newest is None:
        place = f"{tables.table(PUBLISHED[0]).location} or {PUBLISHED[1]}"
        if run_id is not None:
            raise Mistyped(f"No run {run_id} was published by pipeline {pipeline} to {place}.")
        raise InputError(f"Pipeline {pipeline} has published nothing to {place} yet. Make it with: {typed('run')}")
    return newest[1]


def run_of(commit: Commit) -> str | None:
    """The run that a commit has published; None for one that is no publication."""
    return commit.published.run_id if commit.published else None


def is_of(commit: Commit, pipeline: str) -> bool:
    """Whether a commit is a publication of this pipeline, or of an earlier version of ours that did not say whose."""
    return commit.published is not None and commit.published.pipeline in (None, pipeline)
