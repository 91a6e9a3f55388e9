"""Batch scoring of MLflow models on Spark, published to Delta.

    from scoreline import Pipeline
    movies = Pipeline("conf/movies.yaml")
    movies.ingest("ratings.csv")
    print(movies.run())

Nothing is imported before it is asked for: the Python workers of a cluster import this package, too.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoreline.api import Pipeline
    from scoreline.config.settings import Settings
    from scoreline.errors import (
        AuditRefused,
        ConfigurationError,
        InputError,
        RunFailed,
        RunInProgress,
        ScorelineError,
        Superseded,
    )

__version__ = "0.1.0"
__all__ = [
    "AuditRefused",
    "ConfigurationError",
    "InputError",
    "Pipeline",
    "RunFailed",
    "RunInProgress",
    "ScorelineError",
    "Settings",
    "Superseded",
    "__version__",
]

_FROM = {"Pipeline": "scoreline.api", "Settings": "scoreline.config.settings"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_FROM.get(name, "scoreline.errors")), name)


def __dir__() -> list[str]:
    return __all__
