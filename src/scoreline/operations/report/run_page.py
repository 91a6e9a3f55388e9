"""A run's facts as one page of HTML that is complete in itself: no script, nothing is loaded, every text escaped."""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files

from jinja2 import ChoiceLoader, Environment, PackageLoader

from scoreline import __version__
from scoreline.operations.report import charts
from scoreline.operations.report.facts import Due, Histogram, Recorded, RunFacts, Trend, Unit
from scoreline.pipeline.manifest import MEANING
from scoreline.redaction import redacted
from scoreline.tables.names import PUBLISHED
from scoreline.typed import limits_in, typed, typed_again

_HEADLINES = {
    "published": ("Published", "good"),
    "approved": ("Published in spite of the audit", "warn"),
    "refused": ("Refused", "bad"),
    "failed": ("Failed", "bad"),
    "superseded": ("Superseded", "warn"),
    "interrupted": ("Interrupted", "bad"),
    "only_failures": ("Nothing published", "warn"),
}
_ENDED_EARLY = ("refused", "failed", "superseded", "interrupted")
_AGAIN = {
    "failed": "   # when the cause is mended",
    "superseded": "",
    "interrupted": "   # what is staged is taken up",
}
_TONES = ("bad", "warn", "")
_LENGTHS = 12
_NUMBERS = ("No users", "One user", "Two users", "Three users", "Four users", "Five users", "Six users",
            "Seven users", "Eight users", "Nine users", "Ten users")  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What one has to know first, and the commands to type next."""

    headline: str
    tone: str
    lines: tuple[str, ...]
    next: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A figure as the page shows it."""

    name: str
    value: str
    chart: str
    limit: str = ""
    tone: str = ""
    mark: str = ""


def render(facts: RunFacts) -> str:
    """The page of a run."""
    style = style_sheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return environment().get_template("report.html").render(**values(facts), style=style, policy=policy)


def values(facts: RunFacts) -> dict[str, object]:
    """What the template says, but for its style."""
    return {
        "facts": facts,
        "verdict": verdict_of(facts),
        "published": facts.run.state not in _ENDED_EARLY or facts.due.rows_after is not None,
        "key_figures": _key_figures(facts),
        "gates": gate_rows(facts.trends, judged=facts.run.limits is not None),
        "charts": _drawn(facts),
        "lengths": _grouped(facts),
        "steps": _steps(facts.run),
        "costs": _costs(facts),
        "meaning": MEANING,
        "offline": _offline(facts.model.metrics if facts.model else {}),
        "version": __version__,
    }


def verdict_of(facts: RunFacts) -> Verdict:
    """Published or not, and the one limit or error that did it."""
    run, due = facts.run, facts.due
    headline, tone = _HEADLINES.get(run.state, (run.state.capitalize(), "warn"))
    still = f"Readers still see run {facts.shown}." if facts.shown else "Readers see nothing yet."
    if run.state in _ENDED_EARLY:
        why = _sentence(_why(facts))
        if facts.shown == run.run_id and run.state != "refused":
            killed = run.state == "interrupted"
            ended = "was killed after it had published" if killed else "had published before"
            said = f"It {ended}: readers see its rows."
            return Verdict(f"Published, then {headline.lower()}", "warn", (said, *([] if killed else [why])))
        if facts.overtaken:
            since = f"Run {facts.shown} has been published since."
            return Verdict(headline, tone, (why, since), (f"{typed('plan')}   # who is still due",))
        others = [f"Broken, too: {_sentence(one)}" for one in (_refusing(facts) or run.broken)[1:]]
        return Verdict(headline, tone, tuple(filter(None, [why, *others, _seen(facts), still])), _next(facts))
    if run.state == "only_failures":
        said = f"All {_count(due.failed)} users who were due failed again, within the budget."
        return Verdict(headline, tone, (said, still))
    later = f"Readers now see run {facts.shown}." if facts.shown and facts.shown != run.run_id else ""
    lines = [_what_was_made(run, due, verb="got" if later else "have")]
    if run.state == "approved":
        lines.append(
            f"{run.figures.get('approved_by') or 'Somebody'} approved it: “{run.figures.get('approval') or '…'}”"
        )
        lines += [f"In spite of: {run.broken[0]}."] if run.broken else []
    return Verdict(headline, tone, tuple(filter(None, [*lines, later])))


def _seen(facts: RunFacts) -> str:
    """Who is recommended what they have seen, and the likely cause."""
    if (seen := facts.seen) is None:
        return ""
    named = [f"user {user}" + (f" item {item}" if item is not None else "") for user, item in seen.examples]
    users = "1 user is" if seen.users == 1 else f"{_count(seen.users)} users are"
    more = ", ..." if seen.users > len(named) else ""
    return (
        f"{users} recommended items that they have seen: {', '.join(named)}{more}. Most likely the model ignores "
        "exclude_seen."
    )


def _why(facts: RunFacts) -> str:
    error = _first_line(facts.run.figures.get("error"))
    return (*_refusing(facts), *facts.run.broken, error)[0] if facts.run.state == "refused" else error


def _next(facts: RunFacts) -> tuple[str, ...]:
    """What one can do now about a run that published nothing."""
    run, command = facts.run, facts.run.figures.get("command")
    promote = typed(f"promote {facts.model_before}") if facts.model_before else None
    back = [f"{promote}   # or go back to the model version whose rows readers see"] if promote else []
    if run.state != "refused":
        return (f"{redacted(typed_again(command))}{_AGAIN[run.state]}", *back)
    if not run.figures.get("staging"):
        return ()
    limits = [limit for limit in run.limits or () if not (limit.passed or limit.warns)]
    keys = [_key(limit.text) for limit in limits]
    is_a_matter_of_limits = all(keys)  # those without a key cannot be changed
    explain = f"{typed(f'explain USER --run {run.run_id}')}   # what made a list of this run"
    approve = f"{typed(f'approve {run.run_id} --reason REASON')}   # it is right all the same: publish it"
    again = f"{redacted(typed_again(command, changed=keys))}   # the limit was changed: what is staged is judged again"
    staged = "lists" not in facts.missing
    return (
        *([explain] if facts.lists else []),
        *([again] if staged and is_a_matter_of_limits else []),
        f"{redacted(typed_again(command, '--restart'))}   # score anew, when the cause is mended",
        *back,
        *([approve] if staged and facts.due.scored >= facts.due.failed else []),
    )


def _what_was_made(run: Recorded, due: Due, *, verb: str) -> str:
    written = run.figures.get("written") or {}
    where = next((f" in version {written[name]}" for name in PUBLISHED if name in written), "")
    rows = f"{_count(due.scored)} of {_count(due.wanted)} users who were due {verb} new rows{where}."
    if not due.left:
        return rows
    who = "user without a history any more was" if due.left == 1 else "users without a history any more were"
    gone = f"{_count(due.left)} {who} removed{'' if due.wanted else where}."
    return f"{rows} {gone}" if due.wanted else gone


def _refusing(facts: RunFacts) -> list[str]:
    """The limits that refused the run, written as in the table of figures."""
    units = {trend.name: trend.unit for trend in facts.trends}
    return [
        f"{limit.name} is {_written(limit.found, units[limit.name], beside=limit.value)}, expected "
        f"{_limit(limit.text, limit.value, units[limit.name])}{f' ({key})' if (key := _key(limit.text)) else ''}"
        for limit in facts.run.limits or ()
        if not (limit.passed or limit.warns) and limit.name in units
    ]


def _key(text: str) -> str:
    """The key of the configuration that a limit names; empty for one that nobody can change."""
    return next(iter(limits_in(text)), "")


def _sentence(text: str) -> str:
    text = redacted(text).strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def _first_line(error: object) -> str:
    lines = str(error or "No reason was recorded").strip().splitlines()
    return lines[0]


def _key_figures(facts: RunFacts) -> list[tuple[str, str, str]]:
    due, run = facts.due, facts.run
    if not due.counted:
        found = [("due", _count(sum(due.reasons.values()) if due.reasons else None), "")]
    else:
        found = [("due", _count(due.wanted + due.left), "")]
        fallback = f"{_share(due.fallback / due.scored)} fallback" if due.scored else ""
        found += [("scored", _count(due.scored), fallback), ("failed", _count(due.failed), "")]
        found += [("removed", _count(due.left), "")] if due.left else []
    if facts.lists is not None and facts.lists.repeated is not None:
        found.append(("of a list stays", _share(facts.lists.repeated), ""))
    if run.took is not None:
        speed = f"{_count(run.users_per_second)} users/s" if run.users_per_second else ""
        found.append(("took", _seconds(run.took), speed))
    return found


def gate_rows(trends: Iterable[Trend], *, judged: bool) -> list[Row]:
    """The audit's figures; what refused the run comes first."""
    return sorted((_gate_row(trend, judged=judged) for trend in trends), key=lambda row: _TONES.index(row.tone))


def _gate_row(trend: Trend, *, judged: bool) -> Row:
    limit = trend.limit
    value = _written(trend.now, trend.unit, beside=limit.value if limit else None)
    passed = limit is None or limit.passed
    tone, mark = ("", "") if passed else ("warn", "warns") if limit is not None and limit.warns else ("bad", "refused")
    text = ("none" if judged else "not recorded") if limit is None else _limit(limit.text, limit.value, trend.unit)
    values = [point.value for point in trend.points]
    alt = f"{trend.name}: {_range(values, trend.unit)}, now {value}; limit {text}"
    chart = charts.sparkline(values, limit=limit.value if limit else None, passed=passed, alt=alt)
    return Row(trend.name, value, chart, text, tone, mark)


def _limit(text: str, value: float | None, unit: Unit) -> str:
    """A limit as short as it can be: `at least 50 %`."""
    short = text.split(" (audit.", 1)[0].split(", ", 1)[0]
    if value is None:
        return _count(float(short)) if short.isdecimal() else short
    head = short.rsplit(" ", 1)[0] if " " in short else ""
    return f"{head} {_written(value, unit)}".strip()


def _range(values: list[float], unit: Unit) -> str:
    low, high = _written(min(values), unit), _written(max(values), unit)
    runs = "1 run" if len(values) == 1 else f"{len(values)} runs"
    return f"{low} in {runs}" if low == high else f"{low} to {high} in {runs}"


def _costs(facts: RunFacts) -> list[Row]:
    runs = (*facts.earlier, facts.run)
    rows = []
    for name, values, write in (
        ("users per second, scoring", [run.users_per_second for run in runs], _count),
        ("time in all", [run.took for run in runs], _seconds),
        ("CPU time", [run.number("cpu_seconds") for run in runs], _seconds),
        ("memory, MiB at most", [run.number("peak_mib") for run in runs], _count),
        ("users scored", [run.number("scored") for run in runs], _count),
    ):
        known = [value for value in values if value is not None]
        if values[-1] is None:
            continue
        alt = f"{name}: {write(min(known))} to {write(max(known))} in {len(known)} runs, now {write(known[-1])}"
        rows.append(Row(name, write(known[-1]), charts.bars(known, alt=alt)))
    return rows


def _steps(run: Recorded) -> list[tuple[str, float, float]]:
    longest = max(run.seconds.values(), default=0) or 1
    return [(step, seconds, seconds / longest) for step, seconds in run.seconds.items()]


def _offline(metrics: Mapping[str, float]) -> dict[str, object]:
    """Figures on the events held out beside those of popularity and the champion, as `train` names them.

    Of a model that was made elsewhere: all there are.
    """
    compared = [name for name in sorted(metrics) if f"popularity_{name}" in metrics]
    others = [of for of in ("popularity", "champion") if any(f"{of}_{name}" in metrics for name in compared)]
    names = compared or sorted(metrics)
    return {
        "others": others,
        "rows": [(name, [metrics.get(key) for key in (name, *(f"{of}_{name}" for of in others))]) for name in names],
    }


def _drawn(facts: RunFacts) -> Mapping[str, str]:
    found: dict[str, str] = {}
    if facts.lists is not None:
        if (shape := facts.lists.overlap) is not None:
            alt = f"Users by the share of their list that stays: {_tallest(shape, percent=True)}"
            found["overlap"] = charts.histogram(shape, alt=alt)
        if (shape := facts.lists.scores) is not None:
            found["scores"] = charts.histogram(shape, alt=f"Scores, {_tallest(shape)}")
    for output in facts.outputs.outputs if facts.outputs else ():
        if output.histogram is not None:
            found[output.name] = charts.histogram(output.histogram, alt=f"{output.name}, {_tallest(output.histogram)}")
    return found


def _tallest(shape: Histogram, *, percent: bool = False) -> str:
    """Where most are, in words."""

    def most(counts: tuple[int, ...]) -> str:
        place = max(range(len(counts)), key=lambda n: counts[n])
        low, high = shape.edges[place], shape.edges[place + 1]
        between = f"{low:.0%} and {high:.0%}" if percent else f"{_number(low)} and {_number(high)}"
        return f"{_share(counts[place] / max(sum(counts), 1))} between {between}"

    before = f"; before, {most(shape.before)}" if shape.before else ""
    return f"most often now {most(shape.now)}{before}"


def _grouped(facts: RunFacts) -> list[tuple[str, int, int]]:
    """Lengths of lists, the shorter ones together where they are many."""
    lengths = facts.lists.lengths if facts.lists else ()
    few, rest = lengths[:-_LENGTHS], lengths[-_LENGTHS:]
    found = [(str(n), now, before) for n, now, before in rest]
    if few:
        label = f"{few[0][0]} to {few[-1][0]}"
        found.insert(0, (label, sum(now for _, now, _ in few), sum(before for _, _, before in few)))
    return found


def _written(value: float, unit: Unit, *, beside: float | None = None) -> str:
    """A figure; with more digits where it would look like the one `beside` it, its limit, and is another.

    >>> _written(0.4999, "share"), _written(0.4999, "share", beside=0.5), _written(0.2504, "number", beside=0.25)
    ('50.0 %', '49.99 %', '0.2504')
    """
    if unit == "count":
        return _count(value)
    text = _share(value) if unit == "share" else _number(value)
    if beside is None or beside == value or text != (_share(beside) if unit == "share" else _number(beside)):
        return text
    return f"{100 * value:.8g} %" if unit == "share" else f"{value:.8g}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    """
    >>> _share(0.293), _share(0.0004), _share(0.9995), _share(0.999996), _share(1), _share(None)
    ('29.3 %', '0.04 %', '99.95 %', '99.9996 %', '100 %', '–')
    """
    if value is None:
        return "–"
    if value in (0, 1):
        return f"{value:.0%}".replace("%", " %")
    digits = 2 if abs(value) < 0.001 else 1
    while value < 1 and digits < 9 and f"{100 * value:.{digits}f}".startswith("100"):
        digits += 1
    return f"{100 * value:.{digits}f} %"


def _number(value: float | None) -> str:
    """
    >>> _number(4.98562), _number(0.00123456), _number(123456.7), _number(0)
    ('4.99', '0.00123', '123,457', '0')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _value(value: object) -> str:
    return _number(value) if isinstance(value, float) else "–" if value is None else str(value)


def _seconds(value: float | None) -> str:
    """
    >>> _seconds(0.26), _seconds(75), _seconds(7320)
    ('0.3 s', '1 min 15 s', '2 h 2 min')
    """
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _moment(at: datetime) -> str:
    return f"{at:%-d %B %Y, %H:%M} UTC"


def _day(at: datetime) -> str:
    return f"{at:%-d %b %Y}"


def _ended(state: str) -> str:
    return "failed" if state == "failed" else f"was {state.replace('_', ' ')}"


def _clock(at: datetime) -> str:
    return f"{at:%H:%M} UTC"


def _words(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else f"{number} users"


@cache
def environment(*packages: str) -> Environment:
    """Templates of these packages and of this one; every value is escaped."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in (*packages, __package__)]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": _count, "share": _share, "number": _number, "value": _value, "moment": _moment, "day": _day,
        "ended": _ended, "clock": _clock, "words": _words, "seconds": _seconds,
    }  # fmt: skip
    return made


@cache
def style_sheet() -> str:
    return files(__package__).joinpath("templates", "report.css").read_text(encoding="utf-8")
