"""What `import scoreline` offers: names that are there, nothing imported before its time, reports that can be read."""

import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

import scoreline
from scoreline import ConfigurationError, InputError, Pipeline, RunFailed, Settings
from scoreline.report import Report

CONFIG = """
name: films
tables: {root: tables}
events: {columns: {user_id: u, item_id: i, time: t}}
model: {uri: models:/films@champion}
"""


@dataclass(frozen=True)
class Figures:
    scored: int
    share: float | None


@dataclass(frozen=True)
class Done(Report):
    state: str
    at: datetime
    audit: Figures

    def __str__(self) -> str:
        return f"<{self.state}>"


DONE = Done("published", datetime(2026, 7, 1, tzinfo=UTC), Figures(3, None))


def test_every_name_that_is_promised_is_there() -> None:
    assert {name: getattr(scoreline, name).__name__ for name in scoreline.__all__ if name != "__version__"} == {
        name: name for name in scoreline.__all__ if name != "__version__"
    }
    assert dir(scoreline) == scoreline.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Pipelines'"):
        scoreline.Pipelines  # noqa: B018


def test_what_is_not_used_is_not_imported() -> None:
    """A Python worker has the package and no Spark of its own; a notebook's first line is quick."""
    asked = (
        "import sys, scoreline; early = set(sys.modules); scoreline.Pipeline; print(early, set(sys.modules), sep=';')"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    early, late = done.stdout.split(";")
    assert "'scoreline.errors'" not in early
    assert [name for name in ("pyspark", "mlflow", "sklearn", "pandas") if f"'{name}'" in late] == []


def test_a_pipeline_is_made_of_a_file_a_dict_or_settings(tmp_path: Path) -> None:
    (tmp_path / "films.yaml").write_text(CONFIG)
    of_file = Pipeline(tmp_path / "films.yaml", set={"scoring.k": 50, "scoring.max_age": "36h"})
    assert (of_file.settings.scoring.k, str(of_file.settings.scoring.max_age)) == (50, "1 day, 12:00:00")
    said = yaml.safe_load(CONFIG)
    assert Pipeline(said, set={"scoring.k": 7}).settings.scoring.k == 7
    assert said == yaml.safe_load(CONFIG)
    made = Settings.model_validate(said)
    assert Pipeline(made).settings is made
    assert repr(Pipeline(made)) == "Pipeline('films', tables in tables)"
    with pytest.raises(TypeError, match="Settings have theirs already"):
        Pipeline(made, set={"scoring.k": 7})
    with pytest.raises(ConfigurationError, match=r"configuration: scoring\.kk: unknown key\. Did you mean k\?"):
        Pipeline({**said, "scoring": {"kk": 1}})


def test_a_value_that_is_set_keeps_its_type() -> None:
    """Text that looks like a number stays text: `set` is Python, not YAML."""
    said = {"name": "1", "tables": {"root": "t"}, "events": {"columns": {"user_id": "u", "item_id": "i", "time": "t"}}}
    with pytest.raises(ConfigurationError, match=r"scoring\.k"):
        Pipeline({**said, "model": {"uri": "m"}}, set={"scoring.k": "fifty"})
    made = Pipeline({**said, "model": {"uri": "m"}}, set={"scoring.allowed_items": "0042"})
    assert made.settings.scoring.allowed_items == "0042"


def test_a_report_is_frozen_and_gives_text_json_html_and_rows() -> None:
    assert str(DONE) == "<published>"
    assert json.loads(DONE.to_json()) == {
        "state": "published", "at": "2026-07-01T00:00:00+00:00", "audit": {"scored": 3, "share": None},
    }  # fmt: skip
    assert DONE._repr_html_() == "<pre>&lt;published&gt;</pre>"
    assert DONE.to_pandas().to_dict("records") == [
        {"state": "published", "at": DONE.at, "audit.scored": 3, "audit.share": None}
    ]
    with pytest.raises(FrozenInstanceError):
        DONE.state = "failed"  # type: ignore[misc]


@pytest.mark.parametrize("looks", ["status", "log", "quarantine", "report"])
def test_a_folder_of_tables_that_is_not_there_is_named(tmp_path: Path, looks: str) -> None:
    made = Pipeline({**yaml.safe_load(CONFIG), "tables": {"root": f"{tmp_path}/mistyped"}})
    with pytest.raises(InputError, match=f"there is no folder {tmp_path}/mistyped. Correct it, or begin with"):
        getattr(made, looks)()


def test_a_page_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    made = Pipeline({**yaml.safe_load(CONFIG), "tables": {"root": str(tmp_path)}})
    with pytest.raises(InputError, match=f"there is no folder {tmp_path}/pages. Make it"):
        made.report(file=tmp_path / "pages" / "x.html")


def test_a_store_without_credentials_says_so_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    made = Pipeline({**yaml.safe_load(CONFIG), "tables": {"root": "s3://nowhere/x"}})
    with pytest.raises(RunFailed, match=r"^No credentials were found for s3://nowhere/x/.*AWS_ACCESS_KEY_ID"):
        made.status()
