"""The driver is killed wherever it touches the world; the rerun ends in the table of an uninterrupted run."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import NOW, context, write_events
from faults.driver import Job, gateway_of, start
from faults.poison import save
from faults.tally import Tally
from integration.conftest import copied
from scoreline.context import Context
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.run import run
from scoreline.tables.history import published_commit

DAY = timedelta(days=1)
FAULT = "driver killed at each named point"
# who is shown what, without what differs from attempt to attempt
TABLES = {
    "recommendations": ["run_id"],
    "user_history": [],
    "quarantine": ["source_file", "row_hash"],
    "scoring_errors": ["run_id"],
}

# Where the driver dies; each death is followed by another attempt at the same night. In the second night two users who
# have failed are due again, and one has left.
Deaths = list[tuple[str, str, int]]
FIRST_NIGHT: dict[str, Deaths] = {
    "each point": [
        ("after", "open", 1), ("after", "find due", 1), ("before", "stage", 2), ("after", "audit", 1),
        ("after", "record failures", 1), ("before", "publish", 1), ("after", "publish", 1),
        ("after", "drop staging", 1), ("before", "record", 1), ("after", "log", 1),
    ],
    "before and after": [
        ("before", "open", 1), ("after", "open", 1), ("after", "find due", 1), ("before", "stage", 1),
        ("before", "stage", 2), ("after", "stage", 1), ("before", "audit", 1), ("after", "audit", 1),
        ("before", "record failures", 1), ("after", "record failures", 1), ("before", "publish", 1),
        ("after", "publish", 1),
    ],
}  # fmt: skip
SECOND_NIGHT: dict[str, Deaths] = {
    "each point": [("after", "clean", 1)],
    "before and after": [
        ("before", "stage", 1), ("after", "stage", 1), ("before", "publish", 1), ("after", "publish", 1),
        ("after", "drop staging", 1),
    ],
}  # fmt: skip
INGEST: list[Deaths] = [[("after", "quarantine", 1), ("after", "merge", 1)], [("before", "merge", 1)]]
ROLLBACK: Deaths = [("after", "fence", 1), ("before", "bring back", 1)]
pytestmark = [
    pytest.mark.spark,  # its drivers share a JVM
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("deaths", ["each point", pytest.param("before and after", marks=pytest.mark.slow)]),
]


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


@pytest.fixture(scope="module")
def first_night(spark: Any, tmp_path_factory: pytest.TempPathFactory, model: Path, nights: list[str]) -> Place:
    """A first night that nobody disturbed."""
    made = Place(spark, tmp_path_factory.mktemp("night") / "first", model)
    ingest_events(made.on(0), nights[0])
    run(made.on(0))
    return made


def test_killed_anywhere_in_a_first_night_the_rerun_ends_in_the_same_table(
    place: Any, first_night: Place, nights: list[str], deaths: str, tally: Tally
) -> None:
    killed = place("killed")
    _killed(killed, 0, ("ingest", nights[0]), INGEST[0], tally)
    _killed(killed, 0, ("run", {}), FIRST_NIGHT[deaths], tally)
    _same(killed, first_night)
    # nothing was scored twice, whoever took it up
    staged = killed.staged.read_text().splitlines()
    first = [line for line in staged if line.split()[0] == staged[0].split()[0]]
    assert len(first) == len(set(first)) > 1


@pytest.mark.slow  # `make faults`
def test_killed_anywhere_in_a_second_night_and_in_a_rollback_the_tables_end_the_same(
    place: Any, first_night: Place, nights: list[str], deaths: str, tally: Tally
) -> None:
    whole, killed = place("whole"), place("killed")
    before = first_night.rows("recommendations")
    for made in (whole, killed):
        copied(first_night.root / "tables", made.root / "tables")
        made.on(1).tables.table("user_history").delete("user_id = 9")
    ingest_events(whole.on(1), nights[1])
    run(whole.on(1))
    _killed(killed, 1, ("ingest", nights[1]), INGEST[1], tally)
    _killed(killed, 1, ("run", {}), SECOND_NIGHT[deaths], tally)
    _same(killed, whole)
    _rolled_back(killed, 2, before, killed.rows("recommendations"), tally)


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
    found = published_commit(made.on(night).tables.table("recommendations").commits())
    assert found is not None
    assert found.version == 1
    assert made.driver(night, ("export", None)) == 0
    assert {row[0] for row in made.served()} == {user for user in range(60) if user not in (7, 30)}


def _same(one: Place, other: Place) -> None:
    for table in TABLES:
        assert one.rows(table) == other.rows(table), table
