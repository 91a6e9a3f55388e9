"""What `pip install scoreline` alone brings: commands find their files where no checkout is."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = "name: mine\ntables: {root: tables}\nevents: {columns: {user_id: u, item_id: i, time: t}}\nmodel: {uri: m}\n"


@pytest.fixture
def laid_out(tmp_path: Path) -> Path:
    """The files that pyproject.toml puts into a wheel, where they would be installed."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    site = tmp_path / "site-packages"
    for source, target in wheel.get("sources", {"src/scoreline": "scoreline"}).items():
        shutil.copytree(ROOT / source, site / target, ignore=shutil.ignore_patterns("__pycache__", "local"))
    return site


def scoreline(site: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command with what is in `site` and the environment's other packages, typed in another folder."""
    cwd.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "HOME": str(cwd)}
    command = [sys.executable, "-m", "scoreline.cli.main", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_demo_and_submit_find_their_files_without_a_checkout(laid_out: Path, tmp_path: Path) -> None:
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    (cwd / "mine.yaml").write_text(CONFIG)
    # the whole demo is in the slow test below: here a mistake is found in the file that is read
    demo = scoreline(laid_out, "demo", "--set", "scoring.kk=3", cwd=cwd)
    found = laid_out / "scoreline" / "conf" / "demo.yaml"
    assert demo.stderr.splitlines() == [f"error: {found}: scoring.kk: unknown key. Did you mean k?"]
    sent = scoreline(laid_out, "submit", "yarn", "run", "--config", "mine.yaml", "--dry-run", cwd=cwd)
    assert (sent.returncode, sent.stderr) == (0, "")
    words = sent.stdout.split()
    package = Path(words[words.index("--py-files") + 1])
    with zipfile.ZipFile(package) as packed:
        names = set(packed.namelist())
    assert {"scoreline/cli/main.py", "scoreline/engine/log4j2.properties", "scoreline/conf/demo.yaml"} <= names
    assert not [name for name in names if "__pycache__" in name]
    job = next(Path(word) for word in words if word.endswith("score_users.py"))
    assert job == laid_out / "scoreline" / "jobs" / "score_users.py"
    assert job.is_file()
    again = scoreline(laid_out, "submit", "yarn", "run", "--config", "mine.yaml", "--dry-run", cwd=cwd)
    assert again.stdout == sent.stdout


@pytest.mark.slow
def test_a_wheel_that_is_built_and_unpacked_runs_the_demo(tmp_path: Path) -> None:
    """Its console script and jobs, too; needs a package index for the build."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(pip, check=True)
    [wheel] = tmp_path.glob("scoreline-*.whl")
    site, cwd = tmp_path / "site-packages", tmp_path / "elsewhere"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    assert "scoreline = scoreline.cli.main:entry" in next(site.glob("*.dist-info/entry_points.txt")).read_text()
    done = scoreline(site, "demo", "--users", "200", cwd=cwd)
    assert done.returncode == 0, done.stderr
    # nothing but our own progress: no warning of Java's, no line of Spark's
    assert [line for line in done.stderr.splitlines() if not line.startswith(("Fetching Delta", "scor"))] == []
    assert "What to try next" in done.stdout
    assert (cwd / "data" / "demo" / "tables" / "recommendations").is_dir()
    job = [sys.executable, str(site / "scoreline" / "jobs" / "score_users.py")]
    config = str(site / "scoreline" / "conf" / "demo.yaml")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    again = subprocess.run(
        [*job, "--config", config], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert again.stdout.startswith("Nothing is due"), again.stderr
