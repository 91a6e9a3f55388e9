"""The driver is killed wherever it touches the world; the rerun ends in the table of an uninterrupted run."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import NOW, context, write_events
from faults.driver import Job, gateway_of, start
from faults.poison import save
from faults.tally import Tally
from scoreline.commits import shown
from scoreline.context import Context
from scoreline.ingest import ingest_events
from scoreline.run import run

DAY = timedelta(days=1)
FAULT = "driver killed at each named point"
# who is shown what, without what differs from attempt to attempt
TABLES = {
    "recommendations": ["run_id"],
    "user_history": [],
    "quarantine": ["source_file", "row_hash"],
    "scoring_errors": ["run_id"],
}

# Where the driver dies in two nights; each death is followed by another attempt at the same night. What comes after the
# commit of the first night is a run that finds the two that have failed due again.
Deaths = list[tuple[str, str, int]]
EACH_POINT: list[Deaths] = [
    [
        ("after", "open", 1), ("after", "find due", 1), ("before", "stage", 2), ("after", "audit", 1),
        ("after", "record failures", 1), ("before", "publish", 1), ("after", "publish", 1),
        ("after", "drop staging", 1), ("before", "record", 1), ("after", "log", 1),
    ],
    [("after", "clean", 1)],
]  # fmt: skip
BEFORE_AND_AFTER: list[Deaths] = [
    [
        ("before", "open", 1), ("after", "open", 1), ("after", "find due", 1), ("before", "stage", 1),
        ("before", "stage", 2), ("after", "stage", 1), ("before", "audit", 1), ("after", "audit", 1),
        ("before", "record failures", 1), ("after", "record failures", 1), ("before", "publish", 1),
        ("after", "publish", 1),
    ],
    [
        ("before", "stage", 1), ("after", "stage", 1), ("before", "publish", 1), ("after", "publish", 1),
        ("after", "drop staging", 1),
    ],
]  # fmt: skip
INGEST: list[Deaths] = [[("after", "quarantine", 1), ("after", "merge", 1)], [("before", "merge", 1)]]
ROLLBACK: Deaths = [("after", "fence", 1), ("before", "restore", 1)]


class Place:
    """One set of tables, and drivers that work on it."""

    def __init__(self, spark: Any, root: Path, model: Path) -> None:
        self.spark, self.root, self.model = spark, root, model
        self.gateway = gateway_of(spark)
        self.staged = root / "staged.txt"
        root.mkdir()

    def on(self, night: int) -> Context:
        return context(
            self.spark,
            self.root / "tables",
            now=NOW + night * DAY,
            model={"uri": str(self.model), "folder": str(self.model.parent / "fetched")},
            scoring={"k": 3, "slice_users": 30},
            export={"url": f"sqlite:///{self.root / 'serving.db'}"},
        )

    def driver(self, night: int, *steps: tuple[str, Any], die: Any = None) -> int:
        job = Job(self.on(night).settings, NOW + night * DAY, steps, die, str(self.staged))
        return start(self.gateway, job)

    def rows(self, table: str) -> list[Any]:
        """Every row once, as text, sorted."""
        frame = self.on(0).tables.table(table).read().drop(*TABLES[table]).distinct()
        return sorted(str(row) for row in frame.collect())

    def served(self) -> list[Any]:
        """The users that the application finds."""
        import sqlite3

        with sqlite3.connect(self.root / "serving.db") as database:
            return sorted(database.execute("select distinct user_id from recommendations").fetchall())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model") / "poison")


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of events: 60 users of whom two poison the model, and a bad row; then three users with news."""
    folder = tmp_path_factory.mktemp("nights")
    first: list[Any] = [(user, user % 40 + 1, 5, 1_700_000_000 + user) for user in range(60)]
    first += [(7, 9001, 5, 1_700_000_500), (30, 9006, 5, 1_700_000_500), ("x", 1, 1, 1)]
    second = [(user, 51, 4, 1_760_000_001) for user in (3, 50, 201)]
    return [write_events(folder / f"{night}.csv", rows) for night, rows in enumerate([first, second])]


@pytest.fixture
def place(spark: Any, tmp_path: Path, model: Path) -> Any:
    return lambda name: Place(spark, tmp_path / name, model)


def leave(made: Context) -> None:
    made.tables.table("user_history").delete("user_id = 9")


@pytest.mark.parametrize(
    "deaths",
    [
        pytest.param(EACH_POINT, id="each point"),
        pytest.param(BEFORE_AND_AFTER, id="before and after", marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(900)
def test_killed_anywhere_the_rerun_ends_in_the_same_table(
    place: Any, nights: list[str], deaths: list[Deaths], tally: Tally
) -> None:
    whole, killed = place("whole"), place("killed")
    after: list[Any] = []
    for night, source in enumerate(nights):
        if night == 1:
            for made in (whole, killed):
                leave(made.on(1))
        ingest_events(whole.on(night), source)
        run(whole.on(night))
        _killed(killed, night, ("ingest", source), INGEST[night], tally)
        _killed(killed, night, ("run", {}), deaths[night], tally)
        _same(killed, whole)
        before, after = after, killed.rows("recommendations")
    # of the first run nothing was scored twice, whoever took it up
    staged = killed.staged.read_text().splitlines()
    first = [line for line in staged if line.split()[0] == staged[0].split()[0]]
    assert len(first) == len(set(first)) > 1
    _rolled_back(killed, len(nights), before, after, tally)


def _killed(made: Place, night: int, step: tuple[str, Any], deaths: Deaths, tally: Tally) -> None:
    """Kill the driver at each of the points, and let one come to its end."""
    for death in deaths:
        assert made.driver(night, step, die=death) == -9, death
        tally(FAULT, f"night {night}: " + " ".join(map(str, death)))
    assert made.driver(night, step) == 0


def _rolled_back(made: Place, night: int, before: list[Any], after: list[Any], tally: Tally) -> None:
    """Kill a rollback, let another do it, kill the export that belongs to it and repeat that."""
    for death in ROLLBACK:
        assert made.driver(night, ("rollback", None), die=death) == -9
        assert made.rows("recommendations") == after
        tally(FAULT, "rollback: " + " ".join(map(str, death)))
    assert made.driver(night, ("rollback", None), die=("before", "export", 1)) == -9
    tally(FAULT, "rollback: before export")
    assert made.rows("recommendations") == before
    found = shown(made.on(night).tables.table("recommendations").commits())
    assert found is not None
    assert found.version == 1
    assert made.driver(night, ("export", None)) == 0
    assert {row[0] for row in made.served()} == {user for user in range(60) if user not in (7, 30)}


def _same(one: Place, other: Place) -> None:
    for table in TABLES:
        assert one.rows(table) == other.rows(table), table
