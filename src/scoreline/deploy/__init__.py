"""Bring a pipeline's step to where it runs: `scoreline submit TARGET`."""
