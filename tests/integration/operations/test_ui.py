"""The pages of scoreline ui: what they say, that they only look, and that a browser clicks through them."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import yaml

import browser
from asgi import Answer, asked
from builders import NOW, write_events
from integration.truth import histories, published
from scoreline.context import Context
from scoreline.ingest.ingest import ingest_events
from scoreline.ingest.items import ingest_items
from scoreline.operations.log import read_log
from scoreline.operations.ui.pages import application
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import run
from scoreline.runs.begun import marked
from scoreline.runs.record import Record
from scoreline.tables.reading import open_readers

LATER = NOW + timedelta(hours=1)
ITEMS = {"item_id": "item", "title": "title", "genres": "genres"}
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def looked_at(ran: Any, tmp_path: Path) -> Context:
    """Two runs are published, the second by another model; items have titles, the first a hostile one."""
    titles = {item: f"Film {item}" for item in range(1, 41)} | {1: HOSTILE}
    rows = [(item, title, "Drama") for item, title in titles.items()]
    ingest_items(ran(items=ITEMS), write_events(tmp_path / "items.csv", rows, "item,title,genres"))
    run(ran("films/2", now=LATER))
    made: Context = ran("films/2", items=ITEMS)
    return made


def get(made: Context, url: str, **said: Any) -> Answer:
    return asked(application(open_readers(made.settings, made.spark)), url, **said)


def test_the_overview_says_what_readers_see_and_links_the_runs(looked_at: Context) -> None:
    found = get(looked_at, "/")

    shown = looked_at.tables.table("recommendations").commits()[0].published
    assert found.status == 200
    assert f"{shown.run_id}</code></a> by films version 2" in found.text
    assert len(set(re.findall(r'href="/run\?id=([^"]+)"', found.text))) == 2


def test_after_a_rollback_the_overview_lists_it_and_names_the_run_of_the_figures(looked_at: Context, ran: Any) -> None:
    first, second = (row["run_id"] for row in reversed(read_log(open_readers(looked_at.settings), kind="run").runs))
    roll_back(ran(now=LATER + timedelta(hours=1)))

    found = get(looked_at, "/").text

    assert f'Readers see run <a href="/run?id={first}">' in found
    newest = found.split("<tbody>")[1].split("</tr>")[0]
    assert ("rollback" in newest, "/run?id=" in newest) == (True, False)
    assert f'Of run <a href="/run?id={second}"><code>{second}</code></a> (published), the last one' in found


def test_a_run_is_its_report_with_links(looked_at: Context) -> None:
    found = get(looked_at, "/run")

    assert "What changed in the lists" in found.text
    assert 'href="/style.css"' in found.text
    assert "<style>" not in found.text
    assert re.search(r'<a href="/user\?id=\d+">', found.text)
    assert get(looked_at, "/run?id=nobody").status == 404


def test_a_user_is_shown_with_history_list_and_where_it_came_from(looked_at: Context) -> None:
    lists = published(looked_at)

    found = get(looked_at, "/user?id=7")

    listed = found.text.split("<b>List</b>")[1].split("<b>Watched</b>")[0]
    assert [int(item) for item in re.findall(r"/item\?id=(\d+)", listed)] == lists[7]
    assert "by films version 2" in found.text
    assert [get(looked_at, f"/user?id={user}").status for user in ("61", "x", "", "1%20OR%201=1")] == [404] * 4
    assert "There is no list: no event of this id has ever come" in get(looked_at, "/user?id=61").text


def test_the_overview_says_how_fresh_the_rows_are_and_who_is_due_next(looked_at: Context, ran: Any) -> None:
    promise = {"max_age": "100000h", "share": 0.9}

    def facts(**changes: Any) -> list[str]:
        text = get(ran("films/2", **changes), "/").text.partition('<dl class="facts">')[2].partition("</dl>")[0]
        return [" ".join(re.sub("<[^>]+>", " ", part).split()) for part in text.split("</div>")[:-1]]

    made, due = (f"{at:%-d %b %Y} {at:%H:%M} UTC" for at in (LATER, LATER + timedelta(hours=100_000)))
    assert facts(freshness=promise, scoring={"k": 5, "max_age": "100000h"}) == [
        "fresh 100 % of 60 users have a row younger than 100000 h; promised are 90.0 %",
        f"oldest row {made}, of 60 rows",
        f"newest row {made}",
        f"all right as of {made}",
        f"next due {due} by age (scoring.max_age), or with news before",
    ]
    stale = facts(freshness={"max_age": "1s"})
    assert stale[0] == "stale 0 % of 60 users have a row younger than 1 s; promised are 99.0 %"
    assert stale[-1] == "next due with news events, another model version, other rules"


def test_a_user_without_a_list_says_why(looked_at: Context, tmp_path: Path) -> None:
    ingest_events(looked_at, write_events(tmp_path / "news.csv", [(900, 3, 5, 1_780_000_000)]))
    found = get(looked_at, "/user?id=900")
    assert (found.status, "There is no list: the history is new" in found.text) == (200, True)
    assert "next due</dt><dd>now<small>user_history has changed since (it is at version 2)" in get(looked_at, "/").text


def test_why_an_item_is_not_listed_is_asked_on_the_users_page(looked_at: Context) -> None:
    form = get(looked_at, "/user?id=7").text.partition("<main>")[2].partition("<form ")[2].partition("</form>")[0]
    assert re.findall(r'action="([^"]+)"|name="([^"]+)"', form) == [("/why", ""), ("", "id"), ("", "not")]
    assert 'value="7"' in form
    listed = published(looked_at)[7]

    seen = get(looked_at, f"/why?id=7&not={histories(looked_at)[7][0][0]}")
    own = get(looked_at, f"/why?id=7&not={listed[0]}")
    unknown = get(looked_at, "/why?id=7&not=999")

    assert "The user has seen it, last on" in seen.text
    assert f"<h1>Why not Film {listed[0]}?</h1>" in own.text
    assert "It is in the list, at place 1" in own.text
    assert "<h1>Why not 999?</h1>" in unknown.text
    assert (unknown.status, get(looked_at, "/why?id=7").status, get(looked_at, "/why?id=7&not=x").status) == (
        200,
        404,
        404,
    )


def test_each_item_of_a_list_is_explained_on_a_click(looked_at: Context) -> None:
    item = published(looked_at)[7][0]
    link = unescape(re.findall(r'href="(/why[^"]+)"', get(looked_at, "/user?id=7").text)[0])

    found = get(looked_at, link)

    assert link == f"/why?id=7&item={item}"
    assert f"<h1>Why Film {item}?</h1>" in found.text.replace("&lt;", "<")
    assert "Rank 1 of the list" in found.text
    assert "Each score is the sum of what the events add." in found.text
    assert len(re.findall(r"<tr><th scope=\"row\">", found.text)) > 1
    assert get(looked_at, "/why?id=7&item=999").status == 404


def test_an_item_is_shown_with_who_gets_it_and_since_when(looked_at: Context) -> None:
    lists = published(looked_at)
    item = lists[7][0]
    have = [user for user, items in lists.items() if item in items]

    found = get(looked_at, f"/item?id={item}")

    assert f"{len(have)} of 60 lists have it" in found.text
    some = [int(user) for user in re.findall(r"/user\?id=(\d+)", found.text)]
    assert len(some) == min(len(have), 20)
    assert set(some) <= set(have)
    assert len(re.findall(r"/run\?id=", found.text)) == 2
    assert get(looked_at, "/item?id=999").status == 404


def test_titles_are_text_whatever_they_say(looked_at: Context) -> None:
    found = get(looked_at, "/item?id=1")

    assert HOSTILE not in found.text
    assert HOSTILE in unescape(found.text)
    assert HOSTILE not in get(looked_at, f"/user?id={HOSTILE}").text
    assert HOSTILE not in get(looked_at, f"/log?kind={HOSTILE}").text


def test_the_log_is_listed_by_kind_and_page(looked_at: Context) -> None:
    assert len(re.findall(r"<tr><td", get(looked_at, "/log?kind=run").text)) == 2
    assert "Nothing is recorded yet" in get(looked_at, "/log?state=refused").text
    assert get(looked_at, "/log?page=99999999999999").status == 200


def test_what_has_begun_is_in_the_log_and_what_was_killed_on_the_overview(looked_at: Context) -> None:
    with marked(looked_at.settings.home, Record("run", LATER + timedelta(hours=1), "killed"), "scoreline run"):
        running = get(looked_at, "/log?state=running").text
        [mark] = (looked_at.settings.home / ".begun").glob("*.json")
        left = mark.read_text()
    mark.write_text(left)

    assert "<code>killed</code>" in running
    assert "/run?id=killed" not in running
    assert '<a href="/run?id=killed">' in get(looked_at, "/log?state=interrupted").text
    assert 'The last run was interrupted: <a href="/run?id=killed">' in get(looked_at, "/").text
    assert "its process is gone" in get(looked_at, "/run?id=killed").text


@pytest.mark.parametrize("path", ["/etc/passwd", "/../../etc/passwd", "/%2e%2e/x", "/style.css/../pages.py", "/nope"])
def test_no_path_reaches_a_file(looked_at: Context, path: str) -> None:
    assert get(looked_at, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_done_only_looked_at(looked_at: Context, method: str) -> None:
    assert get(looked_at, "/", method=method).status == 405


@pytest.fixture
def address(looked_at: Context, tmp_path: Path) -> Iterator[str]:
    """Where the command answers."""
    settings = looked_at.settings.model_dump(mode="json", exclude_unset=True, exclude={"export"})
    config = tmp_path / "films.yaml"
    config.write_text(yaml.safe_dump(json.loads(json.dumps(settings))), encoding="utf-8")
    command = [sys.executable, "-m", "scoreline", "ui", "--config", str(config), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.mark.long
def test_a_browser_follows_every_kind_of_link_and_complains_of_nothing(address: str, tmp_path: Path) -> None:
    kinds = ("/run?id=", "/user?id=", "/why?id=", "/item?id=", "/log", "/")
    waiting, seen = [address, urljoin(address, "/why?id=7&not=40")], {}
    while waiting:
        url = waiting.pop()
        shown, console = browser.visited(url, tmp_path)
        assert console == []
        assert "Not here" not in shown
        for link in re.findall(r'<a href="([^"]+)"', shown):
            kind = next(kind for kind in kinds if link.startswith(kind))
            if kind not in seen:
                seen[kind] = urljoin(address, unescape(link))
                waiting.append(seen[kind])
    assert seen.keys() == set(kinds)
