"""What the README and docs/ show is so: configurations, commands, snippets. The first hour is walked."""

import re
import shlex
from pathlib import Path
from typing import Any

import click
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
from scoreline.scoring.loaded_model import load_model

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
}
README = PAGES["README.md"]
LEAST = {"name": "films", "tables": {"root": "data"}, "model": {"uri": "models:/films@champion"}}
EVENTS = {"columns": {"user_id": "user", "item_id": "item", "time": "at"}}


def blocks(language: str, page: str = "README.md") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    """Every `scoreline ...` of a page: lines of shell blocks, and those that the text calls, `[--run ID]` too.

    `scoreline explain` alone only names it.
    """
    lines = [line for block in blocks("sh", page) for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    inline = [re.sub(r"[\[\]]", "", code) for code in re.findall(r"`([^`\n]+)`", prose)]
    called = [*lines, *(code for code in inline if len(code.split()) > 2)]
    return [c for c in called if re.match(r"scoreline [a-z]", c)]


def settings_of(text: str) -> Settings:
    """What a page shows of a configuration, made whole."""
    shown = yaml.safe_load(text)
    events = {} if "input" in shown else {"events": EVENTS | shown.get("events", {})}
    return Settings.model_validate({**LEAST, **shown, **events})


def test_the_configuration_is_the_shipped_one() -> None:
    shown, *_ = blocks("yaml", "docs/own-data.md")
    assert Settings.model_validate(yaml.safe_load(shown)) == load_settings(ROOT / "conf" / "movies.yaml")


@pytest.mark.parametrize("page", ["docs/databases.md", "docs/own-model.md"])
def test_a_part_of_a_configuration_is_one_that_is_read(page: str) -> None:
    for text in blocks("yaml", page):
        assert settings_of(text).name == "films"


def test_there_are_commands_of_every_kind() -> None:
    assert {c.split()[1] for c in commands("README.md")} >= {
        "init", "ingest", "train", "plan", "run", "show", "export", "rollback",
    }  # fmt: skip


@pytest.mark.parametrize(("page", "command"), [(page, c) for page in PAGES for c in dict.fromkeys(commands(page))])
def test_a_command_is_one_that_the_command_line_takes(
    page: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, name, *arguments = shlex.split(command, comments=True)
    monkeypatch.setenv("SCORELINE_CONFIG", "conf/movies.yaml")
    monkeypatch.chdir(tmp_path)
    for file in re.findall(r"(?<= )\w+\.(?:json|crt)\b", command):  # those that have to be there
        Path(file).write_text("{}")
    told = main.get_command(click.Context(main), name)
    assert told is not None, f"{page}: {command}"
    # parsed, not run
    try:
        with told.make_context(name, arguments) as context:
            overrides = context.params.get("overrides", ())
    except click.exceptions.Exit:  # it has answered already, as --help does
        return
    assert load_settings(ROOT / "conf" / "movies.yaml", overrides).name == "movies"


def test_make_has_the_targets() -> None:
    asked = {line.split()[1] for block in blocks("sh") for line in block.splitlines() if line.startswith("make ")}
    assert asked >= {"demo", "test"}
    told = {name for text in PAGES.values() for name in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE)}
    made = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "online.mk"))
    assert told <= set(re.findall(r"^([a-z][a-z-]*):", made, re.MULTILINE))


def test_files_it_names_are_there() -> None:
    paths = re.findall(r"\b(?:conf|docs|jobs|notebooks)/[\w./-]*\w", README)
    assert [p for p in paths if not (ROOT / p).exists()] == []
    assert [p for p in re.findall(r"\]\(([^):#]+)\)", README) if not (ROOT / p).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_paths_and_modules_it_names_are_there(page: str) -> None:
    """Those in code, but names that stand for any (`conf/NAME.yaml`) and the file that the first hour writes."""
    code = " ".join(re.findall(r"`([^`\n]+)`", PAGES[page]))
    paths = re.findall(
        r"(?<![\w/])(?:src|tests|benchmarks|conf|jobs|docs|notebooks)/[\w./-]+\.(?:py|ya?ml|json|md|conf|sh)\b", code
    )
    assert [p for p in paths if p not in ("conf/NAME.yaml", "conf/films.yaml") and not (ROOT / p).exists()] == []
    names = [name.split(".") for name in re.findall(r"\b(scoreline(?:_fraud)?\.[a-z]\w*(?:\.\w+)*)", code)]
    there = [[ROOT / "src" / name[0] / name[1], ROOT / "src" / name[0] / f"{name[1]}.py"] for name in names]
    assert [name for name, places in zip(names, there, strict=True) if not any(p.exists() for p in places)] == []


def test_every_job_is_named() -> None:
    listed = re.findall(r"`(\w+_\w+)`", PAGES["docs/deploy/README.md"].split("`jobs/`:", 1)[1].split(". A\n", 1)[0])
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "jobs").glob("*.py"))


def test_the_line_for_a_cluster_names_the_delta_that_fits() -> None:
    [line] = [block for block in blocks("sh", "docs/deploy/README.md") if "spark-submit" in block]
    assert f"--packages {delta_coordinate()} " in line
    assert all(f"--conf {key}={value} " in line for key, value in STATIC.items())


@pytest.mark.long
@pytest.mark.timeout(600)  # a dozen commands: 87 s on two cores that others used, too
def test_the_first_hour_can_be_walked(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command is run where it stands; each line of an answer is one of what was said since the answer before."""
    monkeypatch.chdir(tmp_path)
    said, answers, script = "", 0, ""
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", PAGES["docs/first-hour.md"], re.DOTALL | re.MULTILINE):
        if language == "python":
            script = text
        for line in text.splitlines() if language == "sh" else []:
            word, *rest = shlex.split(line)
            if word == "export":
                monkeypatch.setenv(*rest[0].split("="))
            elif word == "python":
                exec(compile(script, rest[0], "exec"), {"__name__": "__main__"})
            elif word == "scoreline":  # the session of the suite was started elsewhere
                main.main([str(tmp_path / a) if a.endswith(".csv") else a for a in rest], standalone_mode=False)
        said += capsys.readouterr().out.replace(f"{tmp_path}/", "")
        if language == "text":
            wanted = [re.escape(line).replace("…", ".*") for line in text.splitlines()]
            assert [w for w in wanted if not any(re.fullmatch(w, line) for line in said.splitlines())] == [], said
            said, answers = "", answers + 1
    assert answers > 6


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
    [snippet] = blocks("python")
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
    [snippet] = blocks("python", "docs/own-model.md")
    before = mlflow.get_tracking_uri()
    try:
        with quiet_mlflow():
            mlflow.set_tracking_uri(store)
            mlflow.set_experiment("Default")  # another test of this process may have chosen one of another store
            exec(compile(snippet, "own-model.md", "exec"), {"__name__": "readme"})
    finally:
        mlflow.set_tracking_uri(before)
    folder = download(pin("models:/newest/1", tracking_uri=store), tmp_path / "models")
    history: dict[str, Any] = {"item_ids": pa.list_(pa.int64()), "weights": pa.list_(pa.float32())}
    contract = check_contract(signature(folder), history)
    assert (contract.kind, contract.inputs) == ("recommender", ("item_ids",))
    with quiet_mlflow():
        engine = load_model(str(folder), contract.outputs, 1)
        batch = pa.record_batch({"item_ids": pa.array([[7, 8], []], pa.list_(pa.int64()))})
        found = engine(batch, {})
    assert found.to_pydict() == {"item_ids": [[1, 2, 3]] * 2, "scores": [[3.0, 2.0, 1.0]] * 2}
