"""Sessions with a master or a class path of their own: each file of this folder runs in a process of its own."""

import pytest
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def alone() -> None:
    """Skips where another test has a session already: its master cannot be changed."""
    if SparkSession.getActiveSession() is not None:
        pytest.skip("needs a process of its own: make faults")
