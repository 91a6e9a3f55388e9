"""Batch scoring of MLflow models on Spark, published to Delta."""

__version__ = "0.1.0"
