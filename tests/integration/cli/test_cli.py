"""Each command as a user types it: what it prints, what it says of a mistake, the code it leaves with."""

import errno
import html
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from builders import ENGINE, settings, write_events
from integration.conftest import copied, events_of
from integration.terminal import Terminal
from scoreline.cli.demo import _next_steps
from scoreline.cli.main import main
from scoreline.config.loading import load_settings
from scoreline.tables.lock import locked
from scoreline.typed import given

CONFIG: dict[str, Any] = {
    "name": "test",
    "events": {"columns": {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}},
    "items": {"item_id": "item", "title": "title"},
    "histories": {"buckets": 8},
    "model": {"uri": "models:/test@champion"},
    "scoring": {"k": 5},
}


@pytest.fixture
def terminal(spark: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A pipeline of its own, MLflow's store included; nothing has been done in it."""
    serving = {"url": f"sqlite:///{tmp_path / 'serving.db'}"}
    tables = {"root": str(tmp_path / "tables")}
    config = tmp_path / "test.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "engine": ENGINE, "tables": tables, "export": serving}))
    return Terminal(str(config), capsys, monkeypatch)


@pytest.fixture
def with_model(terminal: Terminal, registry: Any, ingested: Path, tmp_path: Path, monkeypatch: Any) -> Terminal:
    """The same with events ingested, and version 1 of `films` configured."""
    copied(ingested, tmp_path / "tables")
    config = tmp_path / "test.yaml"
    model = {"uri": "models:/films/1", "folder": str(registry.folder)}
    changes = {"model": model, "mlflow": {"tracking_uri": registry.uri, "experiment": "runs"}}
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **changes}))
    return terminal


def test_a_mistyped_root_is_told_and_nothing_is_made_there(terminal: Terminal, tmp_path: Path) -> None:
    for command in (("run",), ("train",), ("rollback",), ("export",), ("vacuum",)):
        done = terminal(*command, "--set", "scoring.k=6")
        assert (done.code, done.err) == (
            2,
            f"error: tables.root is {tmp_path}/tables, and there is no folder {tmp_path}/tables. Correct it, or begin "
            "with: scoreline ingest --events FILE --set scoring.k=6\n",
        )
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize("root", ["nowhere", "s3://nowhere/x"])
def test_a_run_that_could_not_begin_has_a_page_with_its_error(terminal: Terminal, tmp_path: Path, root: str) -> None:
    config, page = tmp_path / "test.yaml", tmp_path / "page.html"
    page.write_text("yesterday's")
    place = root if "://" in root else f"{tmp_path}/{root}"
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "tables": {"root": place}}))

    done = terminal("run", "--report", str(page))

    said = done.err.rpartition("error: ")[2].strip().splitlines()[0]
    assert done.code != 0
    assert f"{page}: the run failed" in done.err
    assert f"<h1>The run failed</h1>\n<p>{html.escape(said)}</p>\n<p>" in page.read_text()
    assert "<p>What readers see cannot be read: " in page.read_text()


def test_a_run_whose_tables_cannot_be_written_has_a_page_with_its_error(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("scoreline.api.Pipeline.run", read_only)
    page = tmp_path / "page.html"
    done = terminal("run", "--report", str(page))
    assert "nobody was due" not in done.err
    assert "<h1>The run failed</h1>\n<p>[Errno 30] Read-only file system</p>\n<p>" in page.read_text()


def test_a_root_that_cannot_be_made_is_told(terminal: Terminal, tmp_path: Path) -> None:
    events = write_events(tmp_path / "events.csv", events_of())
    config = tmp_path / "test.yaml"
    root = f"{events}/tables"
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "tables": {"root": root}}))
    for how in ("--events", "--new"):
        done = terminal("ingest", how, events)
        assert (done.code, done.err) == (
            2,
            f"error: tables.root is {root}, and nothing can be written to the folder {root}: {events} is a file. Name "
            "another folder, or change who may write there.\n",
        )


def test_a_file_that_is_not_there_is_told_with_those_that_are(terminal: Terminal, tmp_path: Path) -> None:
    for name in ("a.csv", ".a.csv.swp", ".git"):
        (tmp_path / name).touch()
    done = terminal("ingest", "--events", f"{tmp_path}/b.csv")
    assert done.err == f"error: {tmp_path}/b.csv: no such file or folder. {tmp_path} has: a.csv, tables, test.yaml.\n"


@pytest.mark.both
@pytest.mark.long
def test_the_whole_way_from_events_to_rollback(terminal: Terminal, tmp_path: Path) -> None:
    events = write_events(tmp_path / "events.csv", events_of())
    items = write_events(tmp_path / "items.csv", [(i, f"Film {i}") for i in range(1, 41)], "item,title")

    done = terminal("ingest", "--events", events, "--items", items)
    assert done.code == 0
    assert "60 users in it, 60 histories changed" in done.out
    assert "40 items" in done.out

    trained = terminal("train", "--no-promote", "--json").report
    assert (trained["training"]["version"], trained["promotion"]) == ("1", None)
    assert {"ndcg_at_10", "recall_at_20", "coverage", "popularity_bias"} <= set(trained["training"]["metrics"])
    assert "model test has no alias champion; it has versions 1" in terminal("plan").err
    refused = terminal("train", "--set", "model.train.min_test_users=61")
    assert (refused.code, "test version 2 (item_neighbours)" in refused.out) == (2, True)
    assert "version 2 of test stays registered and was not promoted: its ndcg_at_10 rests on" in refused.err
    promoted = terminal("promote", "--version", "1")
    assert (promoted.code, promoted.out) == (0, "test@champion is version 1\n")

    assert "60 users are due with test version 1" in terminal("plan").out
    first = terminal("run", "--json").report
    assert (first["state"], first["audit"]["scored"]) == ("published", 60)
    page = tmp_path / "page.html"
    said = without({"pyspark", "py4j", "mlflow"}, "report", "-o", str(page))
    assert (said.returncode, said.stderr) == (0, "")
    assert "<code>ndcg_at_10</code>" in page.read_text()
    again = terminal("run", "--report", str(page))
    assert "test: the last run found nobody due (" in page.read_text()
    assert f"; readers see run {first['run_id']}." in page.read_text()
    assert again.out == "Nothing is due: everyone is up to date with test version 1. Nothing was written.\n"
    assert terminal("plan", "--json").report["due"] == 0

    view = terminal("show", "7", "--json").report
    assert (view["user_id"], len(view["recommended"])) == (7, 5)
    assert view["recommended"][0]["title"].startswith("Film ")
    why = terminal("explain", "7", "--json").report
    assert (why["recomputed"]["state"], why["run_id"]) == ("identical", first["run_id"])
    assert [item["title"] for item in why["items"]] == [line["title"] for line in view["recommended"]]
    seen = view["history"][0]["item_id"]
    assert f"Why not Film {seen}: the user has seen it" in terminal("explain", "7", "--why-not", str(seen)).out
    assert terminal("explain", "4711").out == (
        "User 4711 has no list: no event of this id has ever come, good or bad. Is the id right?\n"
    )

    sent = terminal("export", "--json").report
    assert (sent["replaced"], sent["removed"], sent["previous"]) == (60, 0, None)
    assert "nothing was sent" in terminal("export").out

    second = terminal("run", "--full-refresh")
    assert "with test version 1: 60 users due = 60 scored + 0 failed" in second.out
    assert "scored 60 of 60 users" in second.err
    assert "export     is behind: scoreline export\n" in terminal("status").out
    back = terminal("rollback", "--json").report
    assert (back["run_id"], back["model_version"]) == (first["run_id"], "1")

    state = terminal("status", "--json").report
    assert state["export_behind"] is False
    assert state["verdict"].startswith("test: the last rollback was done (")
    assert state["verdict"].endswith(f"; readers see run {first['run_id']}")
    assert {t["table"]: t["rows"] for t in state["tables"]} == {
        "user_history": 60,
        "recommendations": 60,
        "quarantine": 0,
        "items": 40,
        "runs": 12,
    }
    listed = terminal("log", "--json").report["runs"]
    assert [(r["kind"], r["state"]) for r in reversed(listed)] == [
        ("ingest", "done"),
        ("ingest", "done"),
        ("train", "done"),
        ("train", "refused"),
        ("promote", "done"),
        ("run", "published"),
        ("run", "nothing_due"),
        ("export", "done"),
        ("export", "done"),
        ("run", "published"),
        ("export", "done"),
        ("rollback", "done"),
    ]
    assert state["runs"] == listed[:5]
    assert [kind for kind, last in state["last"].items() if last["done_at"] is None] == []
    shown = terminal("log", first["run_id"]).out
    assert f"{first['run_id']:<24} run       published" in shown
    assert "    ok   users scored: 60, expected at least 1" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--set", "scoring.kk=3"], "scoring.kk: unknown key. Did you mean k?"),
        (["run", "--set", "scoring.k"], "expected key=value"),
        (["run", "--config", "nowhere.yaml"], "nowhere.yaml: no such configuration file"),
        (["run", "--fraction", "0"], "--fraction"),
        (["run", "--fraction", "1.5"], "--fraction"),
        (["run", "--fraction", "many"], "'many' is not a valid float"),
        (["run", "--set", "model.uri=models:/nowhere/1"], "no model nowhere; it has films"),
        (["run", "--set", "model.uri=models:/films@best"], "model films has no alias best; it has versions 1, 2"),
        (["plan", "--set", "model.uri=models:/films/9"], "model films has no version 9; it has versions 1, 2"),
        (["promote"], "model.uri is models:/films/1; training and promoting need an alias"),
        (["promote", "--version", "7", "--set", "model.uri=models:/films@champion"], "no version 7"),
        (
            ["train", "--set", "model.uri=models:/a@b", "--set", "mlflow.tracking_uri=http://127.0.0.1:9"],
            "cannot be reached",
        ),
        (["show", "7", "--set", "input={path: x, key: y}"], "there are no histories to show"),
        (["export", "--set", "input={path: x, key: y}"], "Only lists of recommendations are exported"),
        (["ingest"], "Say what to ingest"),
        (["ingest", "--events", "nowhere.csv"], "nowhere.csv: no such file or folder"),
        (["show", "4711"], "user 4711 is not in user_history. Some that are: "),
        (["show", "Anna"], "user ids of this pipeline are whole numbers (keys.user_id: long), found 'Anna'"),
        (["explain", "7", "--run", "4711"], "No run 4711 was published by pipeline"),
        (["export", "--set", "export=null"], "The configuration has no export section"),
        (["export"], "recommendations yet. Make it with: scoreline run"),
        (["rollback"], "recommendations or predictions yet. Make it with: scoreline run"),
        (["runn"], "No such command 'runn'"),
        (["run", "--sett", "a=b"], "No such option"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(with_model: Terminal, arguments: list[str], message: str) -> None:
    said = with_model(*arguments)
    assert message in said.err
    assert (said.code, said.out) == (2, "")
    assert len(said.err.splitlines()) <= 4


def test_a_refused_audit_is_exit_code_3(with_model: Terminal) -> None:
    said = with_model("run", "--quiet", "--set", "audit.max_top_item_share=0.01")
    assert said.code == 3
    assert "The audit refused to publish" in said.err
    assert "share of the top item" in said.err
    assert with_model("status", "--json").report["published"] is None


def test_commands_to_type_name_what_was_given_by_option(with_model: Terminal, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("SCORELINE_CONFIG")
    strict = ["--config", str(tmp_path / "test.yaml"), "--set", "audit.max_top_item_share=0.01"]
    told = with_model("run", "--quiet", *strict).err.splitlines()[-1].split("all the same: ")[1]
    run = told.split()[2]
    assert told == f"scoreline approve {run} --reason REASON {' '.join(strict)}"
    assert f"why: scoreline log {run} {' '.join(strict)}\n" in with_model("status", *strict).out
    for no_reason in ("REASON", "why", "…"):
        said = with_model("approve", run, "--reason", no_reason, *strict)
        assert (said.code, "stands for a reason; say in words" in said.err) == (2, True)
    assert with_model("approve", run, "--reason", "a new catalogue", *strict).code == 0


def test_what_to_try_after_the_demo_is_about_the_same_pipeline(tmp_path: Path) -> None:
    with given("--config", "conf/demo.yaml", "--set", "engine=embedded"):
        said = _next_steps(settings(tmp_path), Path("data/demo"))
    assert said.count("--config conf/demo.yaml --set engine=embedded") == len(said.splitlines()) - 1


def test_promote_moves_the_alias_and_says_from_where(with_model: Terminal) -> None:
    tried = ("promote", "--set", "model.uri=models:/films@tried")
    refused = with_model(*tried, "--version", "1")
    assert (refused.code, refused.out) == (2, "")
    assert "version 1 of films stays registered and was not promoted: its ndcg_at_10 is not known" in refused.err
    assert with_model(*tried, "--version", "1", "--force").out == "films@tried is version 1\n"
    assert with_model(*tried, "--version", "1").out == "films@tried is version 1 already\n"
    assert with_model(*tried).code == 2
    assert with_model(*tried, "--force").out == "films@tried is version 2 (was version 1)\n"
    assert with_model(*tried, "--version", "1", "--force", "--json").report["previous"] == "2"


def test_a_second_run_meanwhile_is_exit_code_1(with_model: Terminal, tmp_path: Path) -> None:
    with locked(load_settings(tmp_path / "test.yaml"), "run"):
        said = with_model("run")
    assert said.code == 1
    assert "Another run works on the tables of test (process " in said.err


def test_a_folder_that_cannot_be_written_is_one_message(with_model: Terminal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = with_model("rollback", "--set", f"tables.root={tmp_path / 'file' / 'tables'}")
    assert said.code == 2
    assert said.err.startswith(f"error: tables.root is {tmp_path / 'file' / 'tables'}")


def test_no_configuration_named_says_which_option(with_model: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCORELINE_CONFIG")
    said = with_model("run")
    assert (said.code, "Missing option '--config' (env var: 'SCORELINE_CONFIG')" in said.err) == (2, True)


def test_help_needs_neither_spark_nor_mlflow() -> None:
    asked = [sys.executable, "-X", "importtime", "-m", "scoreline.cli.main", "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    assert "ingest, train, promote, run, export" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert loaded & {"pyspark", "mlflow", "pandas", "numpy", "pyarrow", "delta"} == set()


# what a command that only looks has no need of; it is run where these cannot be imported
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
from scoreline.cli.main import entry
entry()
"""


def test_every_option_has_a_line_of_help() -> None:
    context = click.Context(main)
    commands = [command for name in main.list_commands(context) if (command := main.get_command(context, name))]
    bare = [
        f"{command.name} {option.opts[0]}"
        for command in commands
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert (len(commands) > 20, bare) == (True, [])


def without(packages: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own that cannot import some packages."""
    command = [sys.executable, "-c", WITHOUT.replace("{packages!r}", repr(packages)), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.both
@pytest.mark.parametrize("arguments", [["status"], ["show", "7", "8"], ["show", "7", "--json"], ["quarantine"]])
def test_looking_needs_neither_spark_nor_mlflow(
    with_model: Terminal, first_run: Path, tmp_path: Path, arguments: list[str]
) -> None:
    shutil.rmtree(tmp_path / "tables")
    copied(first_run, tmp_path / "tables")
    said = without({"pyspark", "py4j", "mlflow", "pandas"}, *arguments)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == with_model(*arguments).out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--help"], 0), (["run", "--help"], 0), (["runn"], 2), (["run", "--sett", "a=b"], 2), (["show"], 2)],
)
def test_help_and_usage_errors_import_next_to_nothing(arguments: list[str], code: int) -> None:
    said = without({"pyspark", "mlflow", "pandas", "pyarrow", "pydantic", "numpy", "sqlalchemy", "yaml"}, *arguments)
    assert said.returncode == code
    assert "Usage: scoreline" in (said.stderr if code else said.stdout)
