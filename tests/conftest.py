"""One session for the whole suite, of the engine that `--engine` says, started only when a test asks for it."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import builders
from quick import QUICK
from scoreline.cli import main as cli
from scoreline.engine.session import get_session

DATA = Path(os.environ.get("SCORELINE_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=("spark", "embedded"), default="spark", help="what computes in the tests")


def pytest_configure(config: pytest.Config) -> None:
    builders.ENGINE = config.getoption("--engine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if builders.ENGINE == "embedded":
        left = [item for item in items if item.get_closest_marker("spark")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    if builders.ENGINE == "embedded":
        from scoreline.engine.embedded.sail import embedded_session  # its packages are not everywhere: tests/compat.py

        yield embedded_session()
        return
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
