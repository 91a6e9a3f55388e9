"""The run log as people read it: what was done, what was tried, what is being done, and how each of it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from scoreline.config.section import parse_duration
from scoreline.errors import InputError
from scoreline.report import Report
from scoreline.runs.begun import begun
from scoreline.runs.rows import logged
from scoreline.tables.names import ENDED_WELL, KINDS, STATES
from scoreline.tables.reading import Readers

__all__ = ["Logged", "RunLog", "last_of_each", "moment", "read_log", "read_run", "unfinished"]

_LISTED = ["run_id", "kind", "state", "started_at", "finished_at", "model", "users"]
_MOST = 10


@dataclass(frozen=True)
class RunLog(Report):
    """Commands, newest first; `state` is running for one that has not ended yet."""

    runs: list[dict[str, Any]]

    def rows(self) -> list[dict[str, object]]:
        """A row a command."""
        return [dict(run) for run in self.runs]

    def __str__(self) -> str:
        return "\n".join(map(line, self.runs)) or "Nothing is in the run log that fits."


@dataclass(frozen=True)
class Logged(Report):
    """One command as the run log has it: `figures` are what it has said of itself. attempt: which of how many."""

    run_id: str
    kind: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    model: str | None
    users: int | None
    figures: Mapping[str, Any]
    attempt: int = 1
    attempts: int = 1

    def __str__(self) -> str:
        said = dict(self.figures)
        lines = [line(vars(self))]
        lines += [f"  attempt       {self.attempt} of {self.attempts}"] if self.attempts > 1 else []
        lines += [f"  {name:<13} {self._shown(name, said.pop(name))}" for name in _SAID if said.get(name)]
        if limits := said.pop("limits", None):
            lines += ["  limits", *[f"    {_mark(gate)} {_gate(gate)}" for gate in limits]]
        if error := said.pop("error", None):
            lines += ["  error", *[f"    {part}" for part in str(error).splitlines()]]
        if refused := said.pop("files_refused", None):
            told = [f"    {path}: {why}" for path, why in refused.items()]
            lines += ["  files refused", *told[:_MOST]]
            lines += [f"    and {len(told) - _MOST:,} more"] if len(told) > _MOST else []
        rest = {name: value for name, value in sorted(said.items()) if not isinstance(value, dict | list)}
        more = [f"{name} {_number(value)}" for name, value in rest.items()]
        lines += [f"  {'figures' if not place else '':<13} {part}" for place, part in enumerate(_wrapped(more))]
        return "\n".join(lines)

    @staticmethod
    def _shown(name: str, value: Any) -> str:
        if name == "steps":
            return ", ".join(f"{step} {seconds:.1f} s" for step, seconds in value.items())
        if isinstance(value, dict):
            return ", ".join(f"{key} {one}" if one is not None else str(key) for key, one in value.items())
        if isinstance(value, list):
            return "; ".join(map(str, value))
        return str(value)


# what stands in a line of its own, in this order
_SAID = (
    "command", "source", "destination", "host", "engine", "process", "reasons", "bad_rows", "left_out", "why_everyone",
    "read", "written", "steps", "configuration", "versions", "approved_by", "approval", "broken", "files",
)  # fmt: skip


def read_log(
    readers: Readers,
    *,
    kind: str | None = None,
    state: str | None = None,
    since: str | datetime | timedelta | None = None,
    last: int | None = None,
    now: datetime | None = None,
) -> RunLog:
    """The run log, newest first. Raises InputError for a kind, a state or a moment that there is none of."""
    states = (*STATES, "running")
    for name, value, known in (("kind", kind, KINDS), ("state", state, states)):
        if value is not None and value not in known:
            raise InputError(f"--{name} is one of {', '.join(known)}; found {value!r}.")
    earliest = moment(since, now or datetime.now(UTC)) if since is not None else None
    latest = datetime.max.replace(tzinfo=UTC)
    where = {name: [value] for name, value in (("kind", kind), ("state", state)) if value is not None}
    found = [
        run
        for run in [*(_flat(one) for one in unfinished(readers)), *logged(readers, _LISTED, where=where)]
        if (earliest is None or run["started_at"] >= earliest)
        and all(run[name] in values for name, values in where.items())
    ]
    # an export within a rollback began with it, and ended before it
    found.sort(key=lambda run: (run["started_at"], run["finished_at"] or latest), reverse=True)
    return RunLog(found[:last])


def read_run(readers: Readers, run_id: str) -> list[Logged]:
    """All that the run log has of a run, newest first: each attempt, its approval. Raises InputError if nothing."""
    rows = logged(readers, [*_LISTED, "figures"], where={"run_id": [run_id]})
    found = [Logged(**row) for row in sorted(rows, key=lambda row: row["started_at"])]
    found += [Logged(**run) for run in unfinished(readers) if run["run_id"] == run_id]
    if not found:
        some = ", ".join(run["run_id"] for run in read_log(readers, last=_MOST).runs)
        hint = f" The newest are: {some}." if some else " It is empty."
        raise InputError(f"No run {run_id} is in the run log {readers.table('runs').location}.{hint}")
    kinds = [one.kind for one in found]
    numbered = [
        replace(one, attempt=kinds[: place + 1].count(one.kind), attempts=kinds.count(one.kind))
        for place, one in enumerate(found)
    ]
    return numbered[::-1]


def last_of_each(readers: Readers) -> dict[str, dict[str, Any]]:
    """By kind: when it was last tried, as which run, and how that ended, and when it was last done; None if never.

    A refused run that somebody has approved is approved. What another command held off has not been tried.
    """
    found: dict[str, dict[str, Any]] = {}
    runs, held_off = read_log(readers).runs, _held_off(readers)
    approved = {run["run_id"] for run in runs if run["state"] == "approved"}
    for run in runs:
        if run["run_id"] in held_off:
            continue
        state = "approved" if run["state"] == "refused" and run["run_id"] in approved else run["state"]
        tried = {"tried_at": run["started_at"], "run_id": run["run_id"], "state": state, "done_at": None}
        of_kind = found.setdefault(run["kind"], tried)
        if of_kind["done_at"] is None and state in ENDED_WELL:
            of_kind["done_at"] = run["started_at"]
    return {kind: found[kind] for kind in KINDS if kind in found}


def line(run: Mapping[str, Any]) -> str:
    """A command in one line."""
    ended = run["finished_at"]
    took = "" if ended is None else _took((ended - run["started_at"]).total_seconds())
    users = f"{run['users'] or 0:>10,} users" if run["users"] else f"{'':>16}"
    return (
        f"{run['run_id']:<24} {run['kind']:<9} {run['state']:<13} {run['started_at']:%Y-%m-%d %H:%M:%S} UTC "
        f"{took:>9} {users}  {run['model'] or ''}"
    ).rstrip()


def _held_off(readers: Readers) -> set[str]:
    """What another command that worked at the time has kept from beginning."""
    rows = logged(readers, ["run_id", "figures"], where={"state": ["failed"]})
    return {row["run_id"] for row in rows if "held_off" in row["figures"]}


def _flat(run: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: run[name] for name in _LISTED}, **run["figures"]}


def unfinished(readers: Readers) -> list[dict[str, Any]]:
    """What has begun and not ended on this machine, as rows of `runs`: it is running, or its process is gone."""
    return [
        {
            "run_id": one.run_id,
            "kind": one.kind,
            "state": "running" if one.alive else "interrupted",
            "started_at": one.started_at,
            "finished_at": None,
            "model": None,
            "users": None,
            "figures": {
                "process": one.process,
                "host": one.host,
                "command": one.command,
                **({"error": one.error} if one.error else {}),
            },
        }
        for one in begun(readers.settings.home)
    ]


def moment(since: str | datetime | timedelta, now: datetime) -> datetime:
    """What `--since` says, in UTC. Raises InputError for what is no moment and no duration before now."""
    if isinstance(since, str):
        try:
            found = parse_duration(since)
        except ValueError:
            try:
                found = datetime.fromisoformat(since)
            except ValueError:
                raise InputError(
                    f"--since is a duration such as 12h or 7d, or a moment such as 2026-07-01T03:00; found {since!r}."
                ) from None
    else:
        found = since
    at = now - found if isinstance(found, timedelta) else found
    assert isinstance(at, datetime)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _gate(gate: Mapping[str, Any]) -> str:
    return f"{gate.get('name')}: {_number(gate.get('found'))}, expected {gate.get('limit')}"


def _mark(gate: Mapping[str, Any]) -> str:
    return "ok  " if gate.get("passed") else "warn" if gate.get("warns") else "BAD "


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _took(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{max(0.0, seconds):.1f} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"


def _wrapped(parts: Sequence[str], width: int = 90) -> list[str]:
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines
