"""What the README shows is so: its configuration, its commands, its model."""

import re
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyspark.sql import SparkSession

from scoreline.cli.main import main
from scoreline.config.loading import load_settings
from scoreline.config.settings import Settings
from scoreline.engine.jars import delta_coordinate
from scoreline.engine.session import STATIC
from scoreline.models.signature import check_contract
from scoreline.registry.client import quiet_mlflow
from scoreline.registry.files import download, signature
from scoreline.registry.versions import pin
from scoreline.scoring.loaded_model import load_engine

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every `scoreline ...` of the README: lines of shell blocks, and those within the text."""
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    return [c for c in [*lines, *re.findall(r"`([^`\n]+)`", prose)] if c.startswith("scoreline ")]


def test_the_configuration_is_the_shipped_one() -> None:
    [shown] = blocks("yaml")
    assert Settings.model_validate(yaml.safe_load(shown)) == load_settings(ROOT / "conf" / "movies.yaml")


def test_there_are_commands_of_every_kind() -> None:
    assert {c.split()[1] for c in commands()} >= {"ingest", "train", "run", "show", "export", "plan", "rollback"}


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one_that_the_command_line_takes(command: str) -> None:
    _, name, *arguments = shlex.split(command, comments=True)
    # parsed, not run; `init` is what writes a configuration
    given = ["--config", "conf/movies.yaml"] if name != "init" else []
    context = main.commands[name].make_context(name, [*given, *arguments])
    overrides = context.params.get("overrides", ())
    assert load_settings(ROOT / "conf" / "movies.yaml", overrides).name == "movies"


def test_make_has_the_targets() -> None:
    asked = {line.split()[1] for block in blocks("sh") for line in block.splitlines() if line.startswith("make ")}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert asked >= {"demo", "test"}
    assert asked <= targets


def test_files_and_keys_it_names_are_there() -> None:
    paths = re.findall(r"\b(?:conf|docs|jobs|notebooks)/[\w./-]*\w", README)
    listed = re.findall(r"`(\w+_\w+)`", README.split("`jobs/`:", 1)[1].split(". A\n", 1)[0])
    paths += [f"jobs/{name}.py" for name in listed]
    assert len(listed) == len(list((ROOT / "jobs").glob("*.py")))
    assert [p for p in paths if not (ROOT / p).exists()] == []
    assert set(re.findall(r"\]\(([^):]+)\)", README)) <= {str(p.relative_to(ROOT)) for p in ROOT.rglob("*")} | {
        "docs/decisions/"
    }


def test_the_line_for_a_cluster_names_the_delta_that_fits() -> None:
    [line] = [block for block in blocks("sh") if "spark-submit" in block]
    assert f"--packages {delta_coordinate()} " in line
    assert all(f"--conf {key}={value} " in line for key, value in STATIC.items())


@pytest.mark.long
def test_the_same_in_python_runs(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "movies.yaml").write_text((ROOT / "conf" / "movies.yaml").read_text(encoding="utf-8"))
    events = [(user, (user + 7 * n) % 90, 4, 1_700_000_000 + 1000 * n + user) for user in range(60) for n in range(12)]
    lines = ["userId,movieId,rating,timestamp", *(",".join(map(str, event)) for event in events)]
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    titles = ["movieId,title,genres", *(f"{item},Film {item},Drama" for item in range(90))]
    (tmp_path / "movies.csv").write_text("\n".join(titles))
    snippet, _ = blocks("python")
    # the session of the suite was started elsewhere
    for said, here in (('"ratings.csv"', 'Path("ratings.csv")'), ('"movies.csv"', 'Path("movies.csv")')):
        snippet = snippet.replace(said, here)
    names: dict[str, Any] = {"Path": Path}
    exec(compile(snippet.replace("movies.train()", "movies.train(force=True)"), "README.md", "exec"), names)
    report, movies = names["report"], names["movies"]
    assert (report.state, report.audit.scored, report.audit.overlap) == ("published", 60, None)
    view = movies.recommendations(42)
    assert {line.title for line in view.history} == {f"Film {(42 + 7 * n) % 90}" for n in range(2, 12)}
    assert view.to_pandas().query("list == 'recommended'")["rank"].tolist() == list(range(1, 51))
    assert movies.plan().due == 0
    assert movies.table("recommendations").count() == 60
    assert "60 users due = 60 scored + 0 failed" in report._repr_html_()


def test_the_model_of_your_own_fits_the_contract_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)  # MLflow puts the files of the default experiment where it stands
    _, snippet = blocks("python")
    before = mlflow.get_tracking_uri()
    try:
        with quiet_mlflow():
            mlflow.set_tracking_uri(store)
            mlflow.set_experiment("Default")  # another test of this process may have chosen one of another store
            exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})
    finally:
        mlflow.set_tracking_uri(before)
    folder = download(pin("models:/newest/1", tracking_uri=store), tmp_path / "models")
    history: dict[str, Any] = {"item_ids": pa.list_(pa.int64()), "weights": pa.list_(pa.float32())}
    contract = check_contract(signature(folder), history)
    assert (contract.kind, contract.inputs) == ("recommender", ("item_ids",))
    with quiet_mlflow():
        engine = load_engine(str(folder), contract.outputs, 1)
        batch = pa.record_batch({"item_ids": pa.array([[7, 8], []], pa.list_(pa.int64()))})
        found = engine.call(batch, {})
    assert found.to_pydict() == {"item_ids": [[1, 2, 3]] * 2, "scores": [[3.0, 2.0, 1.0]] * 2}
