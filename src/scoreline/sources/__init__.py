"""Rows as they are in files, tables and databases, and what their values mean."""
