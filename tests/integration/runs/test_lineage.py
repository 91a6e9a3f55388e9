"""The OpenLineage events of commands, as the published schemas want them, and what it costs where nobody takes them."""

import json
import logging
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import NOW, settings, write_events
from embedded import HOUR
from scoreline.config.loading import load_settings
from scoreline.config.settings import Settings
from scoreline.errors import ConfigurationError, InputError
from scoreline.export.export import export
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.run import run
from scoreline.redaction import redacted
from scoreline.runs import lineage
from scoreline.runs.keeping import kept

pytest.importorskip("openlineage.client")
pytest.importorskip("jsonschema")
import jsonschema
from referencing import Registry, Resource

SCHEMAS = [json.loads(path.read_text()) for path in (Path(__file__).parents[2] / "openlineage").glob("*.json")]
DIES = """
import json, os, signal, sys
from datetime import UTC, datetime
from scoreline.config.settings import Settings
from scoreline.runs.keeping import kept
with kept(Settings.model_validate(json.loads(sys.argv[1])), "run", now=datetime(2026, 7, 1, 9, tzinfo=UTC)):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def require_valid(event: dict[str, Any]) -> None:
    """The event and each of its facets against the schema that it names."""
    registry = Registry().with_resources([(one["$id"], Resource.from_contents(one)) for one in SCHEMAS])
    datasets = [*event["inputs"], *event["outputs"]]
    facets = [facet for one in [event["run"], event["job"], *datasets] for facet in one.get("facets", {}).values()]
    for part, url in [(event, event["schemaURL"]), *[(facet, facet["_schemaURL"]) for facet in facets]]:
        checks = jsonschema.Draft202012Validator.FORMAT_CHECKER
        jsonschema.Draft202012Validator({"$ref": url}, registry=registry, format_checker=checks).validate(part)


def events(file: Path) -> list[dict[str, Any]]:
    """What was said, each of it valid."""
    found = [json.loads(line) for line in file.read_text().splitlines()]
    for event in found:
        require_valid(event)
    return found


def told(event: dict[str, Any]) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    """Job, state, and the data sets read and written with their versions."""
    read, written = (
        {
            f"{one['namespace']} {one['name']}": one.get("facets", {}).get("version", {}).get("datasetVersion")
            for one in event[side]
        }
        for side in ("inputs", "outputs")
    )
    return event["job"]["name"], event["eventType"], read, written


def telling(root: Path, **to: str) -> Settings:
    return settings(root, engine="embedded", lineage=to)


def test_events_say_what_was_read_and_written_in_which_versions(filled: Any, tmp_path: Path) -> None:
    file, tables = tmp_path / "events.jsonl", tmp_path / "tables"
    made = filled(lineage={"file": str(file)})
    source = write_events(tmp_path / "news.csv", [(7, 33, 5, 1_700_000_009)])
    ingest_events(made, source)
    published = run(filled(now=NOW + HOUR, lineage={"file": str(file)}))
    export(made)
    with pytest.raises(InputError):
        run(filled(model="films/99", lineage={"file": str(file)}))
    history = made.tables.table("user_history").version()
    histories, lists = f"file {tables}/user_history", f"file {tables}/recommendations"
    assert [told(event) for event in events(file)] == [
        ("test.ingest", "START", {}, {}),
        ("test.ingest", "COMPLETE", {f"file {source}": None}, {histories: str(history)}),
        ("test.run", "START", {}, {}),
        ("test.run", "COMPLETE", {histories: str(history), lists: "0"}, {lists: str(published.version)}),
        ("test.export", "START", {}, {}),
        (
            "test.export", "COMPLETE", {lists: str(published.version)},
            {f"sqlite {tmp_path}/serving.db/recommendations": None},
        ),
        ("test.run", "START", {}, {}),
        ("test.run", "FAIL", {}, {}),
    ]  # fmt: skip
    begun, ended, failed = events(file)[2], events(file)[3], events(file)[-1]
    assert begun["run"]["runId"] == ended["run"]["runId"] != failed["run"]["runId"]
    facets = ended["run"]["facets"]
    assert facets["nominalTime"]["nominalStartTime"] == (NOW + HOUR).isoformat()
    assert facets["processing_engine"]["name"] == {"embedded": "sail", "spark": "spark"}[made.settings.engine]
    assert "has no version 99" in failed["run"]["facets"]["errorMessage"]["message"]
    assert {one["job"]["namespace"] for one in events(file)} == {"scoreline"}


def test_what_was_killed_is_aborted_by_the_next_command_under_its_own_id(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    made = telling(tmp_path, file=str(file))
    said = json.dumps(made.model_dump(mode="json", exclude_unset=True))
    assert subprocess.run([sys.executable, "-c", DIES, said], check=False).returncode == -signal.SIGKILL
    with kept(made, "vacuum", now=NOW):
        pass
    found = events(file)
    states = [("test.run", "START"), ("test.run", "ABORT"), ("test.vacuum", "START"), ("test.vacuum", "COMPLETE")]
    assert [told(event)[:2] for event in found] == states
    assert found[0]["run"]["runId"] == found[1]["run"]["runId"]


def test_an_id_is_a_commands_own_also_where_it_takes_up_another_run(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    for _ in range(2):
        with kept(telling(tmp_path, file=str(file)), "run", now=NOW) as record:
            record.run_id = "the run that was interrupted"
    first, second, third, fourth = (event["run"]["runId"] for event in events(file))
    assert first == second != third == fourth


def test_a_person_who_stops_it_aborts_it(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    with suppress(KeyboardInterrupt), kept(telling(tmp_path, file=str(file)), "run", now=NOW):
        raise KeyboardInterrupt
    assert [told(event)[1] for event in events(file)] == ["START", "ABORT"]


def test_a_collector_is_sent_the_events_with_the_key(answering: Any, tmp_path: Path) -> None:
    address, asked, _ = answering
    made = telling(tmp_path, url=f"http://{address}/behind/", api_key="k3y", namespace="films")
    with kept(made, "export", now=NOW) as record:
        record.read("recommendations", 7)
    (first, _, _), (path, headers, body) = asked
    event = json.loads(body)
    assert (first, path, headers["Authorization"]) == ("/behind/api/v1/lineage", "/behind/api/v1/lineage", "Bearer k3y")
    require_valid(event)
    assert event["job"]["namespace"] == "films"
    assert told(event)[2] == {f"file {tmp_path}/recommendations": "7"}


@pytest.mark.parametrize("status", [500, 401, 0, None])
def test_a_collector_that_takes_nothing_costs_a_warning(
    status: int | None,
    answering: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that fails, refuses, hangs, or is not there; and no secret stands in it."""
    address, asked, says = answering
    monkeypatch.setattr(lineage, "_PATIENCE", 0.3)
    says["status"] = status
    made = telling(tmp_path, url="http://127.0.0.1:1" if status is None else f"http://{address}", api_key="k3yxyzzy")
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), kept(made, "vacuum", now=NOW):
        pass
    assert time.monotonic() - began < 5
    (said,) = caplog.messages
    assert said.startswith("lineage has not taken the event of this vacuum: ")
    assert {500: "500 Server Error", 401: "401 Client", 0: "timed out", None: "Connection refused"}[status] in said
    assert "k3yxyzzy" not in said
    assert len(asked) == (0 if status is None else 2)


def test_the_key_is_a_secret_and_a_place_is_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "films.yaml"
    plain = settings(tmp_path).model_dump(mode="json", exclude_unset=True)
    url = "http://marquez:5000"
    for section, message in (
        ({"url": url, "api_key": "hush"}, r"lineage\.api_key: a secret stands in the file \(not shown\)"),
        ({"url": url, "file": "x"}, "lineage: give either url"),
        ({"file": "x", "api_key": "${WHERE}"}, "lineage: api_key does nothing without url"),
        ({"url": "http://me:${WHERE}@host"}, r"lineage\.url: .*Found a URL \(not shown\)"),
    ):
        monkeypatch.setenv("WHERE", "x1y2z3")
        file.write_text(yaml.safe_dump(plain | {"lineage": section}))
        with pytest.raises(ConfigurationError, match=message):
            load_settings(file)
    file.write_text(yaml.safe_dump(plain | {"lineage": {"url": url, "api_key": "${WHERE}"}}))
    assert "x1y2z3" not in redacted(repr(load_settings(file)) + " sent by x1y2z3")
