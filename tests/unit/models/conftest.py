"""MLflow warns while it is imported; do that once, before warnings are errors."""

from scoreline.quiet import quiet_mlflow

with quiet_mlflow():
    import mlflow.pyfunc  # noqa: F401
