"""Versions of a model: split, compared, fitted, registered."""
