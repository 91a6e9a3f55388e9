"""Checked events, grouped into one history per user and merged into the table."""
