"""Scoring under Hadoop streaming, where there is no Spark."""
