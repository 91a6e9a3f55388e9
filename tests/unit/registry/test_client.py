import os
from collections.abc import Iterator

import mlflow
import pytest

from scoreline.registry.client import pointing_at


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    before = mlflow.get_tracking_uri()
    mlflow.set_registry_uri(None)
    yield
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri(None)
    os.environ.pop("MLFLOW_REGISTRY_URI", None)  # MLflow sets it, and leaves it


def test_afterwards_the_registry_follows_the_tracking_store_as_before() -> None:
    with pointing_at("sqlite:///ours.db", None):
        assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == ("sqlite:///ours.db",) * 2
    mlflow.set_tracking_uri("sqlite:///theirs.db")
    assert mlflow.get_registry_uri() == "sqlite:///theirs.db"


def test_afterwards_a_registry_of_its_own_is_used_again() -> None:
    mlflow.set_tracking_uri("sqlite:///theirs.db")
    mlflow.set_registry_uri("sqlite:///registry.db")
    with pointing_at("sqlite:///ours.db", "sqlite:///other.db"):
        assert mlflow.get_registry_uri() == "sqlite:///other.db"
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == ("sqlite:///theirs.db", "sqlite:///registry.db")
