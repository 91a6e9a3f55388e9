"""`scoreline submit`: the exact command of each target, and mistakes found before anything is sent."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.filled import CONFIG, DEPLOY
from scoreline.cli.main import entry, main
from scoreline.deploy.requests import Command
from scoreline.deploy.submit import Work, plan_submission
from scoreline.errors import ConfigurationError

TARGETS = sorted(path.parent.name for path in DEPLOY.glob("*/target.yaml"))


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """What `make package` builds, empty."""
    for name in ("scoreline-0.1.0.zip", "jobs/score_users.py"):
        path = tmp_path / "dist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "dist"


def target(folder: Path, text: str) -> Path:
    path = folder / "targets" / "mine" / "target.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return folder / "targets"


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_says_what_it_would_do(
    name: str, dist: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SCORELINE_JARS", str(tmp_path))
    (tmp_path / "delta-spark.jar").touch()
    monkeypatch.chdir(tmp_path)
    options = ["submit", name, "run", "--config", str(CONFIG), "--targets", str(DEPLOY), "--dry-run"]
    options += [] if name == "databricks" else ["--", "--quiet"]
    done = CliRunner().invoke(main, options, catch_exceptions=False)
    assert done.exit_code == 0
    assert "score_users.py" in done.output or "bundle run nightly --only run" in done.output
    assert "${" not in done.output.replace("${var.", "")
    assert [path for path in Path("/tmp").glob(f"scoreline-{name}-run.json") if path.stat().st_size == 0] == []


def test_a_job_of_the_platform_is_the_one_of_the_step_and_takes_no_options(tmp_path: Path) -> None:
    [*_, command] = plan_submission("databricks", Work("train", CONFIG), folder=DEPLOY)
    assert str(command) == "databricks bundle run train --only train --target dev"
    with pytest.raises(ConfigurationError, match="has no job for promote; its jobs are for ingest, run, export, train"):
        plan_submission("databricks", Work("promote", CONFIG), folder=DEPLOY)
    with pytest.raises(ConfigurationError, match="nightly, a job of the platform, which takes no options; found --fra"):
        plan_submission("databricks", Work("run", CONFIG, ("--fraction", "0.25")), folder=DEPLOY)


def test_cluster_mode_ships_package_and_configuration(dist: Path, tmp_path: Path) -> None:
    folder = target(
        tmp_path,
        f"kind: spark-submit\nmaster: yarn\ndeploy_mode: cluster\nartifacts: {dist}\nconf: {{spark.x: true}}\n",
    )
    [command] = plan_submission("mine", Work("run", CONFIG, ("--fraction", "0.25")), folder=folder)
    assert isinstance(command, Command)
    words = list(command.arguments)
    assert words[-5:] == [str(dist / "jobs/score_users.py"), "--config", "movies.yaml", "--fraction", "0.25"]
    assert words[words.index("--files") + 1] == str(CONFIG)
    assert words[words.index("--py-files") + 1] == str(dist / "scoreline-0.1.0.zip")
    assert "spark.x=true" in words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "kind: spark-submit\nmaster: yarn\ndeploymode: cluster\n",
            r"mine/target.yaml: deploymode: unknown key. Did you mean deploy_mode\?",
        ),
        ("kind: spark-submit\nmaster: yran\n", r"master: String should match pattern .* Found 'yran'"),
        ("kind: spark-submit\n", "master: this key is required"),
        ("kind: spark_submit\nmaster: yarn\n", "kind: expected spark-submit or request, found 'spark_submit'"),
        ("kind: spark-submit\nmaster: yarn\nconf: {driver.memory: 4g}\n", "keys of conf start with 'spark.'"),
        ("kind: spark-submit\nmaster: local[2]\ndeploy_mode: cluster\n", "deploy_mode cluster needs a cluster"),
        ("kind: request\nartifacts: s3://x\n", "give either send .* or post"),
        ("kind: request\nartifacts: s3://${NO_SUCH}\nsend: [x]\n", "environment variable NO_SUCH is not set"),
    ],
)
def test_a_mistake_in_a_targets_file_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        plan_submission("mine", Work("run", CONFIG), folder=target(tmp_path, text))


def test_an_unknown_target_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"yran/target.yaml: no such target. There are: .*yarn"):
        plan_submission("yran", Work("run", CONFIG), folder=DEPLOY)


def test_what_is_not_built_names_the_command(tmp_path: Path) -> None:
    folder = target(tmp_path, f"kind: spark-submit\nmaster: yarn\nartifacts: {tmp_path}/none\n")
    with pytest.raises(ConfigurationError, match=r"not built yet. Build it with: make package"):
        plan_submission("mine", Work("run", CONFIG), folder=folder)


def test_a_failed_submission_is_a_failed_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fails = f"[{sys.executable}, -c, 'import sys; sys.exit(7)']"
    folder = target(tmp_path, f"kind: request\nartifacts: here\nsend: {fails}\n")
    with pytest.raises(SystemExit) as left:
        entry(["submit", "mine", "run", "--config", str(CONFIG), "--targets", str(folder)])
    assert left.value.code == 1
    assert "ended with exit code 7" in capfd.readouterr().err


def test_a_client_that_is_not_installed_is_named(tmp_path: Path) -> None:
    folder = target(tmp_path, "kind: request\nartifacts: here\nsend: [no-such-client, run]\n")
    [command] = plan_submission("mine", Work("run", CONFIG), folder=folder)
    with pytest.raises(ConfigurationError, match="no-such-client is not on this machine's PATH"):
        command.run()
