"""Facts of a run with defaults: a test of its page spells out only what matters to it."""

from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from builders import NOW
from scoreline.operations.report.facts import (
    Due,
    Example,
    Histogram,
    ItemShare,
    ListChanges,
    Listed,
    ModelFacts,
    Part,
    Recorded,
    RunFacts,
    Watched,
)  # fmt: skip
from scoreline.operations.report.gather import RUNS_SHOWN, trends
from scoreline.pipeline.audit import Gate

FIGURES = {
    "wanted": 3, "scored": 3, "failed": 0, "left": 0, "fallback": 1, "seen": 0, "forbidden": 0, "unusable": 0,
    "empty": 0, "short": 0, "items": 6, "distinct_users": 3, "distinct_items": 4, "top_item_share": 0.5,
    "overlap": 0.25, "score_psi": 0.02, "not_finite": 0, "score_seconds": 1.5, "open_seconds": 0.5,
    "written": {"recommendations": 2},
}  # fmt: skip
HOSTILE = '<script>alert("1")</script>'
ARABIC = "ألف ليلة وليلة"


def run(number: int = 0, **changes: Any) -> Recorded:
    """A run of the night `number` nights ago."""
    began = NOW - timedelta(days=number)
    made = Recorded(
        f"run-{number}", "run", "published", began, began + timedelta(seconds=3), "films version 1", 3, FIGURES
    )
    return replace(made, **changes)


def facts(earlier: int = 2, **changes: Any) -> RunFacts:
    """A run of three users after so many others."""
    of = changes.pop("run", run())
    before = tuple(run(number) for number in range(earlier, 0, -1))[-(RUNS_SHOWN - 1) :]
    made = RunFacts(
        pipeline="films",
        run=of,
        made_at=NOW,
        earlier=before,
        trends=trends(of, before),
        due=Due(3, 3, 1, 0, 0, reasons={"new": 1, "changed": 2}, rows_before=2, rows_after=3),
        lists=lists(),
        examples=(example(),),
        titles={1: "Alien", 2: ARABIC, 3: HOSTILE},
        model=ModelFacts("films", "1", "abc", {"ndcg_at_10": 0.1655}),
        versions=(("recommendations", "version 1 before, 2 after"),),
        shown="run-0",
    )
    return replace(made, **changes)


def lists(**changes: Any) -> ListChanges:
    part = Part("Drama", 2, 1, 0.5, 0.25, 0.75)
    made = ListChanges(
        users=3, of=3, replaced=2, overlap=Histogram(tuple(n / 10 for n in range(11)), (0, 0, 1, 0, 0, 1, 0, 0, 0, 0)),
        repeated=0.4, same=0, other=0, scores=Histogram((0.0, 0.5, 1.0), (2, 4), (3, 3)), lengths=((2, 3, 2),),
        items=4, items_before=3,
        top=(ItemShare(2, 2 / 3, 0.5, 1, 2), ItemShare(3, 1 / 3, 0.0, 2, None)),
        came_count=1, came=(ItemShare(3, 1 / 3, 0.0, 2, None),), went_count=0, went=(),
        popularity=(part,), genres=(part,),
    )  # fmt: skip
    return replace(made, **changes)


def example(user: Any = 7, **changes: Any) -> Example:
    made = Example(
        user, "at random", "model", events=2, history=(Watched(1, NOW),), now=(Listed(2, 0.5), Listed(3, 0.25, 1)),
        before=(Listed(3, 0.9, 2), Listed(1, 0.8)), repeated=0.5,
    )  # fmt: skip
    return replace(made, **changes)


def gate(
    name: str, found: float, text: str, bound: float | None, *, passed: bool, warns: bool = False
) -> dict[str, Any]:
    """A limit as `runs` records it."""
    return asdict(Gate(name, found, text, passed, warns, bound))
