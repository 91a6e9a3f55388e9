"""The public face: a pipeline, and what can be done with it. The command line and the notebook use nothing else."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scoreline.errors import InputError, told

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from scoreline.config.settings import Settings
    from scoreline.context import Context
    from scoreline.export.export import ExportReport
    from scoreline.ingest.ingest import IngestReport
    from scoreline.ingest.items import ItemsReport
    from scoreline.ingest.new_files import NewFilesReport
    from scoreline.operations.doctor import DoctorReport
    from scoreline.operations.explanation import Explanation
    from scoreline.operations.log import Logged, RunLog
    from scoreline.operations.maintenance import Maintained
    from scoreline.operations.quarantined import Quarantined
    from scoreline.operations.repair import RepairReport
    from scoreline.operations.report.written import PageReport
    from scoreline.operations.show import UserView
    from scoreline.operations.status import Status
    from scoreline.pipeline.approve import ApprovalReport
    from scoreline.pipeline.plan import PlanReport
    from scoreline.pipeline.progress import Progress
    from scoreline.pipeline.rollback import RollbackReport
    from scoreline.pipeline.run_report import RunReport
    from scoreline.registry.promotion import Promotion
    from scoreline.runs.telling import NotifyReport
    from scoreline.tables.names import Kind
    from scoreline.tables.reading import Readers
    from scoreline.training.train import TrainReport
    from scoreline.watch.schedule import NextStarts

__all__ = ["Pipeline"]


class Pipeline:
    """One configured pipeline; each method is a step, as the command of its name is, and gives back a frozen report.

    A session that is not ours has its own settings back after each step, and is never stopped. A session of our own is
    started by the first step that needs one.

    Args:
        config: a YAML file, its URI on a cluster, or what one says, as a dict or as `Settings`.
        set: keys to change, such as `{"scoring.k": 50}`, of those that docs/threats.md lists; not for `Settings`.
        spark: the session to work in. None: the one that there is, else one of our own.

    Raises:
        ConfigurationError: a file, a key or a value is wrong; the message names it and what was expected.
        TypeError: `set` was given beside `Settings`.

    Examples:
        >>> films = Pipeline(
        ...     {
        ...         "name": "films",
        ...         "tables": {"root": "data/films"},
        ...         "events": {"columns": {"user_id": "user", "item_id": "film", "time": "at"}},
        ...         "model": {"uri": "models:/films@champion"},
        ...     },
        ...     set={"scoring.k": 50},
        ... )
        >>> films
        Pipeline('films', tables in data/films)
        >>> films.settings.scoring.k
        50
    """

    def __init__(
        self,
        config: "str | Path | Mapping[str, object] | Settings",
        *,
        set: Mapping[str, object] | None = None,  # noqa: A002  # as `--set` is called
        spark: "SparkSession | None" = None,
    ) -> None:
        from scoreline.config.loading import load_settings
        from scoreline.config.settings import Settings

        if isinstance(config, Settings):
            if set:
                raise TypeError("set changes what a file or a dict says; Settings have theirs already")
            self.settings: Settings = config
        else:
            self.settings = load_settings(config, [f"{key}={_yaml(value)}" for key, value in (set or {}).items()])
        self._spark = spark

    def __repr__(self) -> str:
        tables = self.settings.tables
        return f"Pipeline({self.settings.name!r}, tables in {tables.catalog or tables.root})"

    def ingest(self, events: str | Path, *, items: str | Path | None = None) -> "IngestReport":
        """Merge new events into the users' histories; bad rows go to `quarantine`.

        The same events twice change nothing.

        Args:
            events: a file, a folder, a table `catalog.schema.table` or a database's URL. A `Path` is one of this
                machine, seen from the folder that Python is in; a text is seen as Spark sees it.
            items: the catalogue with titles, which is replaced. None: it stays as it is.

        Returns:
            Rows read, good and bad (read = good + bad), users whose history changed, the table's version. Its `items`
            is None without a catalogue.

        Raises:
            InputError: no such source, columns that are missing or of another kind, or more bad rows than
                `events.max_bad_share`; no history was changed.
            RunInProgress: another process works on these tables.

        Examples:
            >>> report = films.ingest("ratings.csv", items="films.csv")  # doctest: +SKIP
            >>> report.rows_read == report.rows_good + report.rows_bad  # doctest: +SKIP
            True
        """
        from scoreline.ingest.ingest import ingest_events

        report = ingest_events(self._context("ingest"), _named(events))
        return report if items is None else replace(report, items=self.ingest_items(items))

    def ingest_new(self, source: str | Path | None = None) -> "NewFilesReport | IngestReport":
        """Take what no ingest has taken yet, each row or file once; bad rows go to `quarantine`.

        Args:
            source: a folder, a pattern or a file; a database's URL, of `events.table`; with `events.format: delta` the
                folder of a Delta table; a Delta table of a catalogue; a topic, `kafka://HOST:PORT/TOPIC`. None:
                `events.files` or `events.source`.

        Returns:
            Of a table what was ingested, with `rows_read` 0 if nothing was new; `remarks` say if all of it had to be
            read. Of files what became of them: taken, changed, the same as another, left for next time, refused;
            `parts` are the reports of what was ingested. Both have `users_changed`.

        Raises:
            InputError: no such place, or one of which it is not known what is new.
            RunInProgress: another process works on these tables.
            RunFailed: nothing could be taken, and the reason may be in none of the files.

        Examples:
            >>> films.ingest_new("incoming").taken  # doctest: +SKIP
            3
            >>> films.ingest_new("postgresql://reader@db/shop").rows_read  # doctest: +SKIP
            1204
        """
        from scoreline.ingest.new import ingest_new

        return ingest_new(self._context(), None if source is None else _named(source))

    def ingest_items(self, items: str | Path) -> "ItemsReport":
        """Replace the catalogue with titles.

        Args:
            items: a file, a folder, a table or a database's URL, as for `ingest`.

        Raises:
            InputError: no such source, or a column of `items` that it lacks.

        Examples:
            >>> films.ingest_items("films.csv").items  # doctest: +SKIP
            90
        """
        from scoreline.ingest.items import ingest_items

        return ingest_items(self._context("ingest"), _named(items))

    def train(self, *, promote: bool = True, force: bool = False) -> "TrainReport":
        """Train, compare and register a version; the alias moves to it unless it is worse than the champion.

        Args:
            promote: False leaves the alias where it is.
            force: move the alias even if the version is worse, or was not measured.

        Returns:
            The version with its metrics on the events held out, beside popularity and the champion. Its `refused` says
            why the alias stayed, None if it moved or was not to move.

        Raises:
            InputError: there is no history to train on.
            ConfigurationError: `model.uri` names no alias that could be moved.
            RunFailed: training was begun and failed; the alias has not moved.

        Examples:
            >>> report = films.train()  # doctest: +SKIP
            >>> report.refused is None, report.training.metrics["ndcg_at_10"]  # doctest: +SKIP
            (True, 0.2812)
        """
        from scoreline.training.train import train_model

        return train_model(self._context("train"), promote=promote, force=force)

    def promote(self, version: str | int | None = None, *, force: bool = False) -> "Promotion":
        """Point the model's alias at a version and record the digest of its files.

        From the next run on everyone is due.

        Args:
            version: its number. None: the newest.
            force: even if it is worse than the champion, or was not measured.

        Returns:
            The alias, its version now and the one before; `previous` is None if the alias is new.

        Raises:
            InputError: no such version, or it is worse than the champion, or was not measured.
            ConfigurationError: `model.uri` names no alias that could be moved.

        Examples:
            >>> films.promote(7).previous  # doctest: +SKIP
            '6'
        """
        from scoreline.training.train import promote_model

        return promote_model(self.settings, version=None if version is None else str(version), force=force)

    def plan(
        self,
        *,
        fraction: float = 1.0,
        budget: str | timedelta | None = None,
        full_refresh: bool = False,
        users: Iterable[str | int] | None = None,
    ) -> "PlanReport":
        """Who is due and why, and what a run would cost; nobody is scored and no row is written.

        Args:
            fraction: part of the buckets, above 0 and up to 1: those that have waited longest.
            budget: instead of a fraction a duration, as for `run`.
            full_refresh: count users that are up to date, too.
            users: of these ids only. None: of everybody.

        Returns:
            Due users by reason (docs/codes.md), how many a run would score, and in how many slices. Its `asked` says
            how many of `users` are unknown. Its `estimate` is what past runs in the log say of time, CPU and memory,
            with bounds that hold four times of five; None if nobody is due, or the log has no run like it.

        Raises:
            InputError: no histories, no such model, an id that is not of the type in `keys`, or a `budget` as for
                `run`.

        Examples:
            >>> films.plan(fraction=0.25).reasons  # doctest: +SKIP
            {'changed': 30}
        """
        from scoreline.pipeline.run import plan_run

        within = None if budget is None else _duration(budget, "budget")
        return plan_run(self._context(), fraction=fraction, budget=within, full_refresh=full_refresh, users=users)

    def run(
        self,
        *,
        fraction: float = 1.0,
        budget: str | timedelta | None = None,
        full_refresh: bool = False,
        users: Iterable[str | int] | None = None,
        restart: bool = False,
        verify: bool = False,
        progress: "Progress | None" = None,
        page: Callable[[], str | None] | None = None,
    ) -> "RunReport":
        """Score who is due, audit the result and publish it in one commit.

        An interrupted run with the same inputs goes on where it stopped.

        Args:
            fraction: part of the buckets, above 0 and up to 1: those that have waited longest.
            budget: a duration as text (`20m`, `2h`) or a timedelta: as many of the longest-waiting buckets as fit into
                it by past runs, one while the log has none. The report's `pace` says when everybody will be fresh.
            full_refresh: score users that are up to date, too.
            users: nobody but these ids; of them whoever is due. Unknown ids are counted in the report's `asked`. None:
                everybody.
            restart: drop what an interrupted or refused run has staged, and score anew.
            verify: compare all keys even where the tables' logs say who is due.
            progress: who is told while users are scored. None: nobody.
            page: is called when the run is in the log, however it ended: it writes the page about it, by `report` for
                example, and gives back its path, for the message to whom `notify` names. None: no page.

        Returns:
            `state` is `published`, `nothing_due` or `only_failures`. `seconds` is the time of each step. `audit` and
            `run_id` are None if nothing was due.

        Raises:
            AuditRefused: a figure is outside its limit; nothing was published, the staged rows stay for a day.
            Superseded: another run or rollback has published since this one began.
            RunInProgress: another process works on these tables.
            RunFailed: begun and not finished; the table shows its last good state, and the next run takes it up.
            InputError: no histories, no such model, a model that does not fit the table, an id that is not of the type
                in `keys`, `users` beside `fraction`, `budget` or `verify`, `budget` beside `fraction`, or a `budget`
                that not even one bucket fits into.

        Examples:
            >>> report = films.run(fraction=0.25)  # doctest: +SKIP
            >>> report.state, report.audit.scored, report.audit.failed  # doctest: +SKIP
            ('published', 30, 0)
        """
        from scoreline.pipeline.progress import silent
        from scoreline.pipeline.run import run

        within = None if budget is None else _duration(budget, "budget")
        return run(
            self._context("run"),
            fraction=fraction,
            budget=within,
            full_refresh=full_refresh,
            users=users,
            restart=restart,
            verify=verify,
            progress=progress or silent,
            page=page,
        )

    def approve(self, run_id: str, *, reason: str) -> "ApprovalReport":
        """Publish a run that the audit refused; who did it and why is recorded in the table's commit and in `runs`.

        Args:
            run_id: the run, as the refusal named it.
            reason: why its rows are good all the same; a sentence for whoever reads it later.

        Raises:
            InputError: no such run is staged to its end, no reason was given, or something else has been published
                since the run began.
            Superseded: something else was published at this very moment.

        Examples:
            >>> films.approve("20260701T030000-1a2b3c", reason="the catalogue was halved on purpose")  # doctest: +SKIP
        """
        from scoreline.pipeline.approve import approve_run

        return approve_run(self._context("approve"), run_id, reason=reason)

    def rollback(self, run_id: str | None = None) -> "RollbackReport":
        """Bring the table, and the application's database, back to what an earlier run published.

        Args:
            run_id: that run. None: the one whose rows readers saw before the current ones.

        Returns:
            The run that readers see again, and the table's version now. Its `exported` is None without an `export`.

        Raises:
            InputError: no such publication, or there is none before.
            Superseded: a run has published meanwhile; nothing was changed.
            RunFailed: the files of that version are gone, or the table is back and the database is not.

        Examples:
            >>> films.rollback().run_id  # doctest: +SKIP
            '20260701T030000-1a2b3c'
        """
        from scoreline.pipeline.rollback import roll_back

        return roll_back(self._context("rollback"), run_id=run_id)

    def export(self) -> "ExportReport":
        """Send what has changed since the last export to the application's database; readers see all of it at once.

        Returns:
            Users whose rows were replaced and removed, users left out by reason (the database cannot hold their rows),
            and the version that is shown now.

        Raises:
            ConfigurationError: the pipeline has no `export`, or has an `input`: predictions are not exported.
            Superseded: another export or a rollback came between; this one changed nothing.
            RunFailed: the database refused or was away; it shows what it showed before.

        Examples:
            >>> films.export().replaced  # doctest: +SKIP
            30
        """
        from scoreline.export.export import export

        return export(self._context("export"))

    def recommendations(self, user_id: str | int) -> "UserView":
        """One user's history and list, by title.

        Args:
            user_id: the user, a number or a text.

        Returns:
            The ten newest items of the history and the whole list, best first. `recommended` is None if nothing is
            published for this user; a title is None if the catalogue lacks the item.

        Raises:
            InputError: the user is not in `user_history`, or the id is not of the type that `keys` says.
            ConfigurationError: the pipeline has an `input`, and no histories; read its `table("predictions")`.

        Examples:
            >>> [line.title for line in films.recommendations(42).recommended[:2]]  # doctest: +SKIP
            ['Film 21', 'Film 69']
        """
        return self.show([user_id])[0]

    def show(self, user_ids: Sequence[str | int], *, recent: int = 10) -> "list[UserView]":
        """Users' histories and lists, by title, in the order in which they were asked for.

        Args:
            user_ids: the users, numbers or texts.
            recent: how many items of a history, the newest.

        Raises:
            InputError: a user is not in `user_history`, or an id is not of the type that `keys` says.
            ConfigurationError: the pipeline has an `input`, and no histories; read its `table("predictions")`.

        Examples:
            >>> films.show([42, 43], recent=3)[1].to_pandas()  # doctest: +SKIP
        """
        from scoreline.operations.show import show_users

        return show_users(self._readers(), [str(user_id) for user_id in user_ids], recent=recent)

    def explain(
        self,
        user_id: str | int,
        item_id: str | int | None = None,
        *,
        run_id: str | None = None,
        why_not: str | int | None = None,
    ) -> "Explanation":
        """Why a user got this list, or none: it is computed again from what it was made from, and taken apart.

        Args:
            user_id: the user, a number or a text.
            item_id: only this item of the list, with all events that add to it. None: each item, with three of them.
            run_id: the list as this run left it. None: as the table shows it.
            why_not: an item that is not in the list; the others are then left out.

        Returns:
            `recomputed` says whether the list is the published one, bit for bit. `items` are the places of the list
            with the events that add to their scores, largest first. `absent` says why there is no list, None if there
            is one; `why_not` why the item is not in it, None if none was asked for.

        Raises:
            InputError: no such run or item, or an id that is not of the type that `keys` says.
            ConfigurationError: the pipeline has an `input`, and no histories.
            RunFailed: the model ended its process.

        Examples:
            >>> found = films.explain(42, why_not=7)  # doctest: +SKIP
            >>> found.recomputed.state, found.items[0].causes[0].title, found.why_not.reason  # doctest: +SKIP
            ('identical', 'Film 17', 'outscored')
        """
        from scoreline.operations.explain import explain_user

        asked, other = (None if given is None else str(given) for given in (item_id, why_not))
        return explain_user(self._readers(), str(user_id), asked, run_id=run_id, why_not=other)

    def status(self, *, tell: bool = False) -> "Status":
        """Tables and versions, what is published, how fresh it is, the last runs.

        Args:
            tell: whom `notify` names is told, once, that the promise of `freshness` is broken, and once that it is kept
                again.

        Returns:
            `published` and `freshness` are None before the first run; times are in UTC. `stale` if the promise of the
            configuration's `freshness` is broken.

        Examples:
            >>> films.status().published["model_version"]  # doctest: +SKIP
            '1'
        """
        from scoreline.operations.status import status

        found = status(self._readers())
        if tell and found.freshness is not None:
            from scoreline.runs.telling import tell_stale

            tell_stale(self.settings, str(found.freshness), stale=found.stale)
        return found

    def notify_test(self) -> "NotifyReport":
        """Send a message to each address of `notify.to`.

        Returns:
            An address a row; `is_bad` if a service has not taken it.

        Raises:
            ConfigurationError: the configuration names nobody, or the package `apprise` is not here.

        Examples:
            >>> films.notify_test().is_bad  # doctest: +SKIP
            False
        """
        from scoreline.runs.telling import try_addresses

        return try_addresses(self.settings)

    def report(
        self, run_id: str | None = None, *, file: str | Path | None = None, since: datetime | None = None
    ) -> "PageReport":
        """Write what a run did as one page of HTML that is complete in itself; a refused run's too.

        Args:
            run_id: the run. None: the newest that had somebody to score.
            file: where to. None: `report-<run id>.html` in this folder.
            since: only a run that ended then or later. None: any.

        Raises:
            InputError: no such run is recorded.

        Examples:
            >>> films.report(file="report.html").state  # doctest: +SKIP
            'published'
        """
        from scoreline.operations.report.written import write_page

        place = None if file is None else Path(file)
        if place is not None and not place.absolute().parent.is_dir():
            raise InputError(f"{place}: there is no folder {place.absolute().parent}. Make it, or name another file.")
        return write_page(self._readers(), run_id=run_id, file=place, since=since)

    def ui(self, *, host: str = "127.0.0.1", port: int = 8765, told: Callable[[str], None]) -> None:
        """Serve pages about the pipeline to browsers until it is stopped: runs, users, items, the log. It only reads.

        Args:
            host: an address of this machine. Of any but loopback's the pages ask for a token, that of the environment
                (SCORELINE_UI_TOKEN) or a new one.
            port: 0 takes a free one.
            told: is given the address to open, with the token.

        Raises:
            InputError: the port is taken.
            ConfigurationError: the token of the environment could be guessed.

        Examples:
            >>> films.ui(told=print)  # doctest: +SKIP
            http://127.0.0.1:8765/
        """
        from scoreline.operations.ui.pages import application
        from scoreline.operations.ui.server import serve

        serve(application(self._readers()), host=host, port=port, told=told)

    def log(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        since: str | datetime | timedelta | None = None,
        last: int | None = 30,
    ) -> "RunLog":
        """What was done to the tables and how it ended, newest first: also what failed, was refused or is running.

        Args:
            kind: only of this kind, such as `run`.
            state: only what ended so, such as `refused` (docs/codes.md), or is `running`.
            since: only what began then or later: a moment, or a duration before now (`7d`).
            last: at most so many. None: all.

        Raises:
            InputError: no such kind or state, or no moment.

        Examples:
            >>> [run["state"] for run in films.log(kind="run", since="7d").runs]  # doctest: +SKIP
            ['nothing_due', 'published']
        """
        from scoreline.operations.log import read_log

        return read_log(self._readers(), kind=kind, state=state, since=since, last=last)

    def logged(self, run_id: str) -> "list[Logged]":
        """All that the run log has of one run: each attempt and its approval, newest first.

        Args:
            run_id: the run, or another command, as `log` names it.

        Raises:
            InputError: nothing of this id.

        Examples:
            >>> films.logged("20260701T030000-1a2b3c")[0].figures["steps"]  # doctest: +SKIP
            {'open': 1.2, 'plan': 0.3, 'score': 9.1, 'audit': 0.6, 'publish': 0.9}
        """
        from scoreline.operations.log import read_run

        return read_run(self._readers(), run_id)

    def quarantine(
        self,
        *,
        reason: str | None = None,
        since: str | datetime | timedelta | None = None,
        last: int | None = 20,
    ) -> "Quarantined":
        """Rows of the input that broke a rule, newest first.

        Args:
            reason: only rows that broke a rule with these words in its name (docs/codes.md).
            since: only what came then or later: a moment, or a duration before now (`7d`).
            last: at most so many. None: all.

        Returns:
            The rows as text, with every rule that they broke, and how many rows broke each rule.

        Raises:
            InputError: no moment.

        Examples:
            >>> films.quarantine(reason="time", since="7d").bad[0]["raw_row"]  # doctest: +SKIP
            '7,3,4.5,yesterday'
        """
        from scoreline.operations.quarantined import read_quarantine

        return read_quarantine(self._readers(), reason=reason, since=since, last=last)

    def doctor(self) -> "DoctorReport":
        """The installation looked over: Java, storage, registry, tables, leftovers. What is not well has its advice.

        Returns:
            A check a row; `is_bad` if a run would fail, or do wrong.

        Examples:
            >>> films.doctor().is_bad  # doctest: +SKIP
            False
        """
        from scoreline.operations.doctor import examine

        return examine(self.settings)

    def vacuum(self, *, retain: str | timedelta = "7d") -> "Maintained":
        """Delete files that no version of the last `retain` needs, and what dead runs left.

        A rollback reaches no further back.

        Args:
            retain: a duration as text (`12h`, `7d`, `2w`) or a timedelta.

        Returns:
            Files that are left, per table, and the number of leftovers that were removed.

        Raises:
            InputError: no duration, or less than seven days.
            RunInProgress: an ingest or a run works on these tables.

        Examples:
            >>> films.vacuum(retain="2w").removed  # doctest: +SKIP
            0
        """
        from scoreline.operations.maintenance import vacuum

        wanted = _duration(retain, "retain")
        return vacuum(self._context("vacuum"), retain=wanted)

    def optimize(self) -> "Maintained":
        """Put small files of the tables together; no row changes, so nobody is due by it.

        Raises:
            RunInProgress: an ingest or a run works on these tables.

        Examples:
            >>> films.optimize().files["user_history"]  # doctest: +SKIP
            4
        """
        from scoreline.operations.maintenance import optimize

        return optimize(self._context("optimize"))

    def repair(self) -> "RepairReport":
        """Give each user of `user_history` one row again, where somebody else has doubled it.

        Returns:
            How many users had more rows than one, and the table's version afterwards.

        Raises:
            RunInProgress: an ingest or a run works on these tables.

        Examples:
            >>> films.repair().users  # doctest: +SKIP
            0
        """
        from scoreline.operations.repair import repair_histories

        return repair_histories(self._context("repair"))

    def watch(self, *, once: bool = False, told: Callable[[str], None] = print) -> int:
        """Start steps by themselves, as `watch` in the configuration says, until the process is told to stop.

        Args:
            once: do what is due now and come back.
            told: is given a line for each event.

        Returns:
            0, or with `once` the exit code of the worst that happened.

        Raises:
            ConfigurationError: there is no `watch`, or a time in it is none.
            RunInProgress: another process watches these tables from here.

        Examples:
            >>> films.watch(once=True)  # doctest: +SKIP
            0
        """
        from scoreline.watch.watching import watch

        return watch(self.settings, once=once, told=told)

    def next_starts(self) -> "NextStarts":
        """What `watch` would start next: ten starts by the clock, and what else it waits for; nothing is started.

        Examples:
            >>> films.next_starts().starts[0].trigger  # doctest: +SKIP
            'nightly'
        """
        from scoreline.watch.watching import planned

        return planned(self.settings)

    def table(self, name: str) -> "DataFrame":
        """A table of the pipeline as Spark reads it; docs/tables.md has the columns.

        Args:
            name: such as `recommendations`, `user_history` or `quarantine`.

        Raises:
            InputError: the table is not there yet; the message says which step makes it.

        Examples:
            >>> films.table("quarantine").select("reasons", "raw_row").show()  # doctest: +SKIP
        """
        from scoreline.typed import typed

        made_by = f"{typed('ingest --events FILE')}, or {typed('run')}"
        return self._context().tables.existing(name, made_by=made_by).read()

    def _readers(self) -> "Readers":
        from scoreline.runs.keeping import require_place
        from scoreline.tables.reading import open_readers

        require_place(self.settings, spark=self._spark)
        return open_readers(self.settings, self._spark)

    def _context(self, kind: "Kind | None" = None) -> "Context":
        from scoreline.engine.installed import require_pyspark
        from scoreline.runs.keeping import kept_if_failed

        require_pyspark()
        from scoreline.context import open_context
        from scoreline.engine.session import existing_session

        with kept_if_failed(self.settings, kind, spark=self._spark or existing_session()):
            return open_context(self.settings, spark=self._spark)


def _named(source: str | Path) -> str:
    return str(source.absolute()) if isinstance(source, Path) else source


def _duration(value: object, name: str) -> timedelta:
    from scoreline.config.section import parse_duration

    try:
        found = parse_duration(value)
    except ValueError as error:
        raise InputError(f"{name}: {told(error)}; found {value!r}.") from None
    if not isinstance(found, timedelta):
        raise InputError(f"{name}: expected a duration such as 7d, found {value!r}.")
    return found


def _yaml(value: object) -> str:
    return json.dumps(value, default=str)  # JSON is YAML, and what is text stays text
