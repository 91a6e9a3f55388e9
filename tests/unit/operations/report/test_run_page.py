"""The page: complete in itself, every text escaped, with the verdict first, for any run."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from run_facts import ARABIC, FIGURES, HOSTILE, example, facts, gate, lists, run
from scoreline.operations.report.facts import Due, Failures, ModelFacts, Output, OutputChanges, RunFacts
from scoreline.operations.report.run_page import render, verdict_of
from scoreline.typed import given

REFUSED = {
    **FIGURES,
    "written": None,
    "staging": "_staging_1",
    "error": "The audit refused\n  - overlap is 0.1, expected at least 0.5\n",
}


class Page(HTMLParser):
    """Elements with their attributes, in order, and the text of some."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


MANY: dict[str, Any] = {
    "no run before": facts(0),
    "one": facts(1),
    "thirty": facts(30),
    "a thousand": facts(1000),
    "refused": facts(run=run(state="refused", figures=REFUSED)),
    "failed": facts(
        run=run(state="failed", figures={"error": "the disk is full"}), lists=None, examples=(), model=None
    ),
    "hostile": facts(
        pipeline=HOSTILE,
        examples=(example("u" * 60), example(HOSTILE)),
        due=Due(3, 2, 0, 1, 0, failures=(Failures("MODEL_RAISED", 1, HOSTILE, HOSTILE),)),
    ),
    "tabular": facts(lists=None, outputs=OutputChanges(3, 3, 2, (Output(HOSTILE, lists().scores),))),
}


@pytest.mark.parametrize("kind", MANY)
def test_a_page_loads_nothing_and_runs_nothing(kind: str) -> None:
    text = render(MANY[kind])
    page = Page(text)

    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & {
        tag for tag, _ in page.elements
    }
    assert not [
        attributes for _, attributes in page.elements if {"src", "srcset", "style", "onclick"} & attributes.keys()
    ]
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert not re.search(r"url\(|@import|https?://", text)
    assert len(text.encode()) < 2_000_000


@pytest.mark.parametrize("kind", MANY)
def test_a_page_is_readable_without_eyes(kind: str) -> None:
    page = Page(render(MANY[kind]))

    assert [a.get("lang") for a in page.all("html")] == ["en"]
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(below - above <= 1 for above, below in pairwise(levels))
    charts = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len([text for tag, text in page.texts if tag == "title"]) == 1 + len(charts)
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg") if a.get("role") != "img")
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    sections = {a["aria-labelledby"] for a in page.all("section")}
    assert sections == {a["id"] for a in page.all("h2")}


def test_titles_and_ids_are_text_whatever_they_say() -> None:
    page = Page(render(MANY["hostile"]))

    assert ("bdi", HOSTILE) in page.texts
    assert ("bdi", ARABIC) in page.texts
    assert ("bdi", "u" * 60) in page.texts


def test_its_own_style_is_the_only_one_allowed() -> None:
    from base64 import b64encode
    from hashlib import sha256

    text = render(facts())
    [policy] = [a["content"] for a in Page(text).all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    style = text.split("<style>")[1].split("</style>")[0]

    assert f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in str(policy)
    assert "default-src 'none'" in str(policy)


def text_of(made: RunFacts) -> list[str]:
    return [text for _, text in Page(render(made)).texts]


def test_a_refused_run_says_first_which_limit_did_it() -> None:
    made = facts(run=run(state="refused", figures=REFUSED), shown="run-1")
    verdict = verdict_of(made)

    assert verdict.headline == "Refused"
    assert verdict.lines == ("Overlap is 0.1, expected at least 0.5.", "Readers still see run run-1.")
    assert [line.partition("   # ")[0] for line in verdict.next] == [
        "scoreline explain USER --run run-0",
        "scoreline run",
        "scoreline run --restart",
        "scoreline approve run-0 --reason REASON",
    ]
    texts = text_of(made)
    assert texts.index("Refused") < texts.index("Overlap is 0.1, expected at least 0.5.") < texts.index("The audit")


def test_each_broken_limit_is_named_and_the_model_before_offered() -> None:
    error = (
        "The audit refused\n  - overlap is 0.1, at least 0.5 (audit.min_overlap)\n  - failed users is 9, at most 5\n"
        "Why users failed:\n  - 9 x MODEL_RAISED: KeyError\n"
    )
    refused = run(state="refused", figures={**REFUSED, "error": error})
    verdict = verdict_of(facts(run=refused, shown="run-1", model_before="7", due=Due(12, 3, 0, 9, 0)))

    assert verdict.lines == (
        "Overlap is 0.1, at least 0.5 (audit.min_overlap).",
        "Broken, too: Failed users is 9, at most 5.",
        "Readers still see run run-1.",
    )
    assert "scoreline promote 7   # or go back to the model version whose rows readers see" in verdict.next
    assert not [line for line in verdict.next if "approve" in line]  # most users would be without


@pytest.mark.parametrize(
    ("changes", "headline", "line"),
    [
        ({}, "Published", "3 of 3 users who were due have new rows in version 2."),
        ({"state": "failed", "figures": {"error": "the disk is full\nmore"}}, "Failed", "The disk is full."),
        ({"state": "failed", "figures": {}}, "Failed", "No reason was recorded."),
        ({"state": "only_failures"}, "Nothing published", "All 0 users who were due failed again, within the budget."),
        ({"state": "superseded", "figures": {"error": "a newer run"}}, "Superseded", "A newer run."),
    ],
)
def test_the_verdict_of_a_run(changes: dict[str, Any], headline: str, line: str) -> None:
    verdict = verdict_of(facts(run=run(**changes), shown="run-0" if not changes else "run-1"))

    assert (verdict.headline, verdict.lines[0]) == (headline, line)


@pytest.mark.parametrize(
    ("state", "again"),
    [
        ("failed", ("scoreline run   # when the cause is mended",)),
        ("superseded", ("scoreline run",)),
        ("interrupted", ("scoreline run   # what is staged is taken up",)),
    ],
)
def test_what_published_nothing_says_why_what_readers_see_and_what_to_do(state: str, again: tuple[str, ...]) -> None:
    made = facts(run=run(state=state, figures={"error": "its process is gone"}), shown="run-1")

    verdict = verdict_of(made)
    since = verdict_of(replace(made, shown="run-9", overtaken=True))
    published = verdict_of(replace(made, shown="run-0"))

    assert (verdict.headline, verdict.next) == (state.capitalize(), again)
    assert verdict.lines == ("Its process is gone.", "Readers still see run run-1.")
    assert since.lines == ("Its process is gone.", "Run run-9 has been published since.")
    assert published.headline == f"Published, then {state}"
    assert published.lines == (
        ("It was killed after it had published: readers see its rows.",)
        if state == "interrupted"
        else ("It had published before: readers see its rows.", "Its process is gone.")
    )
    assert (since.next, published.next) == (("scoreline plan   # who is still due",), ())


def test_a_run_is_typed_again_with_the_options_that_decided_what_it_was() -> None:
    killed = "scoreline run --set model.uri=models:/slow/1 --set scoring.slice_users=300 --report page.html"
    said = {"error": "its process is gone", "command": killed}
    refused = {**REFUSED, "command": "scoreline run --full-refresh --set audit.max_overlap=0.5"}

    with given("--config", "films.yaml", "--set", "scoring.k=7"):
        assert verdict_of(facts(run=run(state="interrupted", figures=said), shown="run-1")).next == (
            "scoreline run --config films.yaml --set model.uri=models:/slow/1 --set scoring.slice_users=300"
            "   # what is staged is taken up",
        )
    made = verdict_of(facts(run=run(state="refused", figures=refused), shown="run-1"))
    assert [line.partition("   # ")[0] for line in made.next[1:3]] == [
        "scoreline run --full-refresh --set audit.max_overlap=0.5",
        "scoreline run --restart --full-refresh --set audit.max_overlap=0.5",
    ]
    for option in ("--full-refresh", "--budget 20m", "--users 1,2", "--users-from ids.txt", "--fraction 0.5"):
        failed = run(state="failed", figures={"error": "the disk is full", "command": f"scoreline run {option}"})
        assert verdict_of(facts(run=failed, shown="run-1")).next == (
            f"scoreline run {option}   # when the cause is mended",
        )


def test_the_limit_that_refused_is_not_proposed_again_and_what_is_no_limit_cannot_be_changed() -> None:
    overlap = gate("overlap with the lists replaced", 0.25, "at least 1 (audit.min_overlap)", 1, passed=False)
    seen = gate("seen items recommended", 117, "0", 0, passed=False)
    command = "scoreline run --set audit.min_overlap=1.0 --set scoring.k=5"
    said = {**REFUSED, "command": command}

    changed = verdict_of(facts(run=run(state="refused", figures={**said, "limits": [overlap]}), shown="run-1"))
    fixed = verdict_of(facts(run=run(state="refused", figures={**said, "limits": [overlap, seen]}), shown="run-1"))

    again = "scoreline run --set audit.min_overlap=LIMIT --set scoring.k=5"
    assert f"{again}   # the limit was changed: what is staged is judged again" in changed.next
    assert [line.partition("   # ")[0] for line in fixed.next] == [
        "scoreline explain USER --run run-0",
        "scoreline run --restart --set audit.min_overlap=1.0 --set scoring.k=5",
        "scoreline approve run-0 --reason REASON",
    ]


def test_what_cannot_be_approved_any_more_is_not_offered() -> None:
    refused = facts(run=run(state="refused", figures=REFUSED), shown="run-1")

    since = verdict_of(replace(refused, shown="run-9", overtaken=True))
    gone = verdict_of(replace(refused, lists=None, missing={"lists": "They are gone."}))

    assert since.lines == (
        "Overlap is 0.1, expected at least 0.5.",
        "Run run-9 has been published since.",
    )
    assert since.next == ("scoreline plan   # who is still due",)
    assert gone.next == ("scoreline run --restart   # score anew, when the cause is mended",)


def test_users_who_are_removed_are_said_to_be_so() -> None:
    alone = facts(due=Due(0, 0, 0, 0, 2))

    assert verdict_of(alone).lines == ("2 users without a history any more were removed in version 2.",)
    assert verdict_of(facts(due=Due(3, 3, 0, 0, 1))).lines == (
        "3 of 3 users who were due have new rows in version 2. 1 user without a history any more was removed.",
    )
    texts = " ".join(text_of(alone))
    assert "2 had no history left; their rows are removed." in texts
    assert "0 due" not in texts


def test_a_run_that_took_up_slices_has_no_rate() -> None:
    figures = {**FIGURES, "steps": {"score": 0.001}}

    assert "3,000 users/s" in text_of(facts(run=run(figures=figures)))
    assert not [t for t in text_of(facts(run=run(figures={**figures, "resumed_slices": 2}))) if "users/s" in t]


def test_a_run_that_ended_early_counts_nobody() -> None:
    failed = run(state="failed", figures={"error": "no such model"})
    early = text_of(facts(run=failed, due=Due(0, 0, 0, 0, 0, counted=False)))
    staged = text_of(facts(run=failed, due=Due(0, 0, 0, 0, 0, reasons={"new": 7}, counted=False)))

    assert "It ended before it was known who was due; nothing was published." in early
    assert "It ended before it was counted what became of them; nothing was published." in staged
    assert (early[early.index("due") + 1], staged[staged.index("due") + 1]) == ("–", "7")
    assert not {"What became of them", "scored"} & {*early, *staged}


def test_an_approved_run_says_by_whom_and_why() -> None:
    said = {**FIGURES, "approved_by": "kim", "approval": "it is right", "broken": ["overlap is 0.1"]}

    lines = verdict_of(facts(run=run(state="approved", figures=said))).lines

    assert lines[1:] == ("kim approved it: “it is right”", "In spite of: overlap is 0.1.")
    assert verdict_of(facts(run=run(state="approved", figures=said), shown="run-9")).lines == (
        "3 of 3 users who were due got new rows in version 2.",
        *lines[1:],
        "Readers now see run run-9.",
    )


def test_users_are_reconciled_to_the_last() -> None:
    texts = " ".join(" ".join(text_of(facts(due=Due(10, 7, 2, 2, 1)))).split())

    assert "10 due = 7 scored + 2 failed. 1 user is missing." in texts
    assert "Nobody is missing." in " ".join(text_of(facts(due=Due(10, 8, 2, 2, 1))))


def test_a_figure_stands_beside_its_limit_and_what_refused_comes_first() -> None:
    gates = [
        gate("share of fallbacks", 1 / 3, "at most 0.5 (audit.max_fallback_share)", 0.5, passed=True),
        gate("overlap with the lists replaced", 0.25, "at least 0.5 (audit.min_overlap)", 0.5, passed=False),
    ]
    said = {**FIGURES, "limits": gates}

    made = facts(run=run(figures=said))
    texts = text_of(made)

    at = texts.index("overlap with the lists replaced")
    assert at < texts.index("share of fallbacks")
    assert texts[at + 1 : at + 4] == [
        "25.0 % refused",
        "at least 50.0 %",
        made.trends[-2].name + ": 25.0 % in 3 runs, now 25.0 %; limit at least 50.0 %",
    ]
    assert texts[texts.index("users scored") + 2] == "none"


def test_what_was_not_recorded_is_said_to_be_so() -> None:
    made = facts(run=run(figures={}), due=Due(0, 0, 0, 0, 0), lists=None, missing={"lists": "The files are gone."})

    texts = text_of(replace(made, trends=()))

    assert "Not recorded for this run." in texts
    assert "The limits of this run were not recorded; its figures were." not in texts
    assert "No figures were recorded." in texts
    assert "The files are gone." in texts
    taken = Due(0, 0, 0, 0, 0, rows_before=3, rows_after=3)
    killed = text_of(replace(made, trends=(), due=taken, run=run(state="interrupted", figures={})))
    assert any("it had passed the audit" in text for text in killed)
    early = text_of(replace(made, trends=(), run=run(state="failed", figures={}), shown="run-1"))
    assert "No figures were recorded: the run ended before the audit." in early


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_colour_of_text_stands_out_from_the_paper() -> None:
    style = render(facts()).split("<style>")[1].split("</style>")[0]
    themes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]

    assert len(themes) == 3  # light, dark, print
    for theme in themes[:2]:
        for text in ("ink", "soft", "accent", "good", "bad", "warn"):
            for paper in ("paper", "tint"):
                low, high = sorted((luminance(theme[text]), luminance(theme[paper])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (text, paper)


def test_the_limit_that_refused_is_written_as_in_the_table() -> None:
    broken = gate("overlap with the lists replaced", 0.25, "at least 0.5 (audit.min_overlap)", 0.5, passed=False)
    said = {**REFUSED, **FIGURES, "limits": [broken]}

    line = verdict_of(facts(run=run(state="refused", figures=said))).lines[0]

    assert line == "Overlap with the lists replaced is 25.0 %, expected at least 50.0 % (audit.min_overlap)."


@pytest.mark.parametrize(("found", "limit", "line"), [
    (0.9995, 1.0, "is 99.95 %, expected at least 100 % (audit.min_overlap)."),
    (0.4999, 0.5, "is 49.99 %, expected at least 50.0 % (audit.min_overlap)."),
    (0.99949, 0.9995, "is 99.9 %, expected at least 99.95 % (audit.min_overlap)."),
])  # fmt: skip
def test_what_is_refused_does_not_look_like_its_limit(found: float, limit: float, line: str) -> None:
    name = "overlap with the lists replaced"
    broken = gate(name, found, f"at least {limit:g} (audit.min_overlap)", limit, passed=False)
    made = facts(run=run(state="refused", figures={**REFUSED, "overlap": found, "limits": [broken]}))
    assert verdict_of(made).lines[0] == f"Overlap with the lists replaced {line}"
    shown = line.removeprefix("is ").partition(",")[0]
    assert f"{shown} refused" in text_of(made)


def test_a_models_figures_stand_beside_those_of_popularity_and_the_champion() -> None:
    metrics = {"ndcg_at_10": 0.5, "popularity_ndcg_at_10": 0.25, "champion_ndcg_at_10": 0.125, "fit_seconds": 3.0}

    texts = text_of(facts(model=ModelFacts("films", "2", "abc", metrics)))

    at = texts.index("ndcg_at_10")
    assert texts[at - 3 : at + 4] == ["model", "popularity", "champion", "ndcg_at_10", "0.5", "0.25", "0.125"]
    assert "fit_seconds" not in texts
    assert "accuracy" in text_of(facts(model=ModelFacts("films", "2", "abc", {"accuracy": 0.5})))
