"""`scoreline watch`: one process that starts steps by itself.

`supervisor` asks what is due (`schedule` by the clock, `looks` by files, tables and the registry, `http` by
applications), writes it down (`journal`) before it says so, and lets a warm process (`process`, `worker`) do it, one
chain of steps at a time.
"""
