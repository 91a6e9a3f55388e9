"""Models that score a batch of histories: catalogue, top-K kernel, three estimators, the MLflow wrapper.

Nothing below this package knows of Spark: a batch comes in as Arrow columns and leaves as Arrow columns. Its imports
are relative: a logged model carries a copy of it, and of `scoreline.errors`, under a name of its own.
"""
