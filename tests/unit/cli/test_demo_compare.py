"""What the demo says of the tables of both engines; the whole of it is run by tests/deploy/test_cuts.py."""

from pathlib import Path

import pyarrow as pa
import pytest

from builders import settings
from scoreline.cli import demo_compare
from scoreline.cli.demo_compare import compared
from scoreline.errors import ConfigurationError, RunFailed

ROWS = pa.table({"user_id": [1, 2], "scores": [[0.5], [0.25, 0.1]]})
OTHER = pa.table({"user_id": [1, 2], "scores": [[0.5], [0.25, 0.2]]})


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_compare, "is_embedded", lambda _: True)


class InThisProcess:
    """Stands for the process that Spark works in."""

    def __init__(self, fails: BaseException | None = None) -> None:
        self.fails = fails

    def __call__(self, *_: object, **__: object) -> "InThisProcess":
        return self

    def __enter__(self) -> "InThisProcess":
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, *_: object) -> "InThisProcess":
        return self

    def result(self) -> None:
        if self.fails:
            raise self.fails


def said(monkeypatch: pytest.MonkeyPatch, folder: Path, *, fails: BaseException | None = None, spark: pa.Table) -> str:
    monkeypatch.setattr(demo_compare, "ProcessPoolExecutor", InThisProcess(fails))
    monkeypatch.setattr(
        demo_compare, "_rows", lambda made, _: spark if "on-spark" in made.settings.tables.root else ROWS
    )
    return compared(settings(folder), Path("events.csv"), Path("items.csv"))


def test_equal_rows_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert said(monkeypatch, tmp_path, spark=ROWS) == (
        "user_history: 2 rows, each the same on both engines\nrecommendations: 2 rows, each the same on both engines"
    )


def test_a_row_that_differs_fails_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="user_history: the 2 rows of the embedded engine are not the 2 of Spark"):
        said(monkeypatch, tmp_path, spark=OTHER)


def test_a_machine_that_cannot_have_spark_and_a_person_in_a_hurry_fail_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_java = ConfigurationError("No Java.")
    assert said(monkeypatch, tmp_path, fails=no_java, spark=OTHER) == "Not compared, Spark cannot be had here: No Java."
    assert said(monkeypatch, tmp_path, fails=KeyboardInterrupt(), spark=OTHER) == "Left out."
