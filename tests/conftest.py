"""One Spark session for the whole suite, started only when a test asks for it."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from quick import QUICK
from scoreline.cli import main as cli
from scoreline.engine.session import get_session

DATA = Path(os.environ.get("SCORELINE_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    warehouse = str(tmp_path_factory.mktemp("warehouse"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = get_session("scoreline tests", {**QUICK, "spark.sql.warehouse.dir": warehouse})
    yield session
    session.stop()


@pytest.fixture(scope="session")
def data() -> Path:
    """The real data sets beside the checkout."""
    if not DATA.is_dir():
        pytest.skip(f"needs the real data sets in {DATA}, which are not here")
    return DATA


@pytest.fixture(autouse=True)
def _session_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a test runs in this process leaves the suite's session running."""
    monkeypatch.setattr(cli, "_leave", lambda: None)
