"""A run: open, plan, score in slices, audit, publish; and what may be done to a run afterwards."""
