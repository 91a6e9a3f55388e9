"""The run log: a row of `runs` for every command that touches tables, however it ends."""
