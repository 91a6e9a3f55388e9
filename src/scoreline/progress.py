"""Progress of long work: a live bar in a terminal, plain lines elsewhere, nothing when nobody looks."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import click

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

        def advance(users: int) -> None:
            nonlocal finished, scored
            finished, scored = finished + users, scored + users
            rate = scored / max(time.monotonic() - began, 1e-9)
            left = (total - finished) / rate if rate else 0
            click.echo(f"scored {finished:,} of {total:,} users, {rate:,.0f} users/s, {left:.0f} s left", err=True)

        yield advance


silent: Progress = _Silent()


def for_terminal(*, quiet: bool) -> Progress:
    """The progress that fits where standard error goes."""
    if quiet:
        return silent
    return _Bar() if sys.stderr.isatty() else _Lines()
