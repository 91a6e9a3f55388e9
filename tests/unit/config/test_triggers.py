"""What the section `watch` may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from scoreline.config.settings import Settings
from scoreline.config.watch import HttpSettings, TriggerSettings, WatchSettings

NIGHTLY = {"name": "nightly", "at": "30 2 * * *", "steps": ["run"]}
SIGNAL = {"name": "app", "signal": True, "steps": ["run"]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"at": None}, "a trigger has one of at, files, .*; found none"),
        ({"signal": True}, "found at and signal"),
        ({"timezone": "Europe/Berln"}, "'Europe/Berln' is no time zone"),
        ({"timezone": "../../etc/passwd"}, "is no time zone"),
        ({"debounce": "1s"}, "debounce does nothing with at, only with signal or webhook"),
        ({"settle": "1s"}, "settle does nothing with at, only with files"),
        ({"fraction": 0.5, "steps": ["export"]}, "fraction does nothing without the step run"),
        ({"fraction": 0.5, "budget": "20m"}, "give fraction or budget, not both"),
        ({"at": None, "files": "in/*.csv"}, "taken by the step ingest, which steps lacks"),
        ({"at": None, "source": "events"}, "asked by the step ingest, which steps lacks"),
        ({"steps": []}, "at least 1 item"),
        ({"steps": ["export", "run"]}, "steps are done in the order ingest, train, run"),
        ({"steps": ["run", "run"]}, "each once; found run, run"),
        ({"at": None, "table": "user_histroy"}, "table is user_histroy; expected one of this pipeline"),
        ({"at": None, "table": "user_history", "every": "0s"}, "every is at least 1s"),
        ({"steps": ["runs"]}, "Input should be 'ingest', 'train', 'run'"),
        ({"name": "a/b"}, "String should match pattern"),
        ({"spark": {"spark.driver.memory": "8g"}}, "spark.driver.memory is fixed when the session starts"),
        ({"spark": {"spark.sql.extensions": "x.Y"}}, "spark.sql.extensions is fixed .* Say it in the section spark"),
    ],
)
def test_a_trigger_that_would_do_something_else_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TriggerSettings.model_validate({**NIGHTLY, **changed})


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"host": "0.0.0.0"}, "whoever reaches 0.0.0.0 could start runs: give token"),
        ({"token": "short"}, "token could be guessed"),
    ],
)
def test_nobody_else_may_start_runs(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        HttpSettings.model_validate(said)


def test_names_are_taken_once_and_signals_need_a_place() -> None:
    with pytest.raises(ValidationError, match="two triggers are called nightly"):
        WatchSettings.model_validate({"triggers": [NIGHTLY, NIGHTLY]})
    with pytest.raises(ValidationError, match="the trigger app needs http"):
        WatchSettings.model_validate({"triggers": [SIGNAL]})
    assert WatchSettings.model_validate({"triggers": [SIGNAL], "http": {}}).triggers[0].kind == "signal"


@pytest.mark.parametrize(
    ("trigger", "events", "said"),
    [
        ({"steps": ["ingest"]}, None, "nightly has the step ingest, which needs events.source or events.files"),
        ({"steps": ["ingest"]}, {}, "nightly has the step ingest, which needs events.source or events.files"),
        ({"steps": ["ingest"], "at": None, "files": "in"}, None, "which needs events.source or events.files"),
        ({"steps": ["ingest"], "at": None, "source": "events"}, {"files": "in"}, "which needs events.source \\["),
        ({"steps": ["run", "export"]}, None, "nightly has the step export, which needs the section export"),
    ],
)
def test_a_step_that_could_not_be_done_is_found_before_the_night(
    trigger: dict[str, Any], events: dict[str, Any] | None, said: str
) -> None:
    columns = {"columns": {"user_id": "user", "item_id": "item", "time": "at"}}
    least = {"name": "t", "tables": {"root": "data"}, "model": {"uri": "models:/t@champion"}}
    made = {**least, "watch": {"triggers": [{**NIGHTLY, **trigger}]}}
    made |= {} if events is None else {"events": columns | events}

    with pytest.raises(ValidationError, match=rf"(?m){said}"):
        Settings.model_validate(made)


def test_files_of_a_trigger_need_no_others() -> None:
    columns = {"columns": {"user_id": "user", "item_id": "item", "time": "at"}}
    trigger = {"name": "arrivals", "files": "in/*.csv", "steps": ["ingest", "run"]}
    said = {"name": "t", "tables": {"root": "data"}, "model": {"uri": "models:/t@champion"}, "events": columns}

    made = Settings.model_validate({**said, "watch": {"triggers": [trigger]}})

    assert made.watch is not None
    assert made.watch.triggers[0].files == "in/*.csv"
