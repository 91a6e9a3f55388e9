"""Progress of long work: a live bar in a terminal, plain lines elsewhere, nothing when nobody looks."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import click
from pyspark.sql import SparkSession

_SECONDS_BETWEEN_LINES = 10.0

Advance = Callable[[int], None]


class Progress(Protocol):
    """What a run needs to tell about itself."""

    def work(self, total: int, *, done: int) -> AbstractContextManager[Advance]:
        """Begin on `total` users, `done` of them already done; call the result with each further number done."""
        ...


class _Silent:
    @contextmanager
    def work(self, total: int, *, done: int) -> Iterator[Advance]:
        yield lambda users: None


class _Bar:
    @contextmanager
    def work(self, total: int, *, done: int) -> Iterator[Advance]:
        began = time.monotonic()
        with click.progressbar(
            length=total,
            label="scoring",
            file=sys.stderr,
            show_pos=True,
            item_show_func=lambda s: s,
            update_min_steps=1,
        ) as bar:
            bar.update(done)
            scored = 0

            def advance(users: int) -> None:
                nonlocal scored
                scored += users
                bar.update(users, f"{scored / max(time.monotonic() - began, 1e-9):,.0f} users/s")

            yield advance


class _Lines:
    @contextmanager
    def work(self, total: int, *, done: int) -> Iterator[Advance]:
        began, finished, scored = time.monotonic(), done, 0
        click.echo(f"scoring {total - done:,} users" + (f", {done:,} are staged already" if done else ""), err=True)

        said = began

        def advance(users: int) -> None:
            nonlocal finished, scored, said
            finished, scored = finished + users, scored + users
            if finished < total and time.monotonic() - said < _SECONDS_BETWEEN_LINES:
                return
            said = time.monotonic()
            rate = scored / max(time.monotonic() - began, 1e-9)
            left = (total - finished) / rate if rate else 0
            click.echo(f"scored {finished:,} of {total:,} users, {rate:,.0f} users/s, {left:.0f} s left", err=True)

        yield advance


silent: Progress = _Silent()


@contextmanager
def following(spark: SparkSession, users: int, advance: Advance) -> Iterator[None]:
    """Advance by `users` in all while a Spark job runs inside, by the share of its tasks that are done.

    Where Spark does not tell (Spark Connect), all at the end.
    """
    told, over = 0, threading.Event()

    def look() -> None:
        nonlocal told
        while not over.wait(1.0):
            share = _task_share(spark)
            if share is not None and (more := int(users * share) - told) > 0:
                told += more
                advance(more)

    follower = threading.Thread(target=look, name="progress", daemon=True)
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()
    advance(users - told)


def _task_share(spark: SparkSession) -> float | None:
    try:
        tracker = spark.sparkContext.statusTracker()
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    except Exception:  # a session without a SparkContext, or one that is being stopped
        return None
    widest = max((s for s in stages if s is not None and s.numTasks), key=lambda s: s.numTasks, default=None)
    return widest.numCompletedTasks / widest.numTasks if widest else None


def for_terminal(*, quiet: bool) -> Progress:
    """The progress that fits where standard error goes."""
    if quiet:
        return silent
    return _Bar() if sys.stderr.isatty() else _Lines()
