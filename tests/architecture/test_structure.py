"""The structure as a contract: what decides does no I/O, workers need no Spark, jobs stay small."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "scoreline"

# modules that decide: plain functions of their arguments
PURE = (
    "config/section", "config/sources", "config/model", "config/scoring", "config/monitoring", "config/settings",
    "tables/history",
    "tables/schema", "tables/row_hash", "sources/values", "ingest/events", "ingest/histories",
    "pipeline/changes", "pipeline/plan", "pipeline/audit", "pipeline/estimate", "pipeline/budget",
)  # fmt: skip
READS_AND_WRITES = {
    "pathlib", "os", "subprocess", "sqlalchemy", "mlflow", "delta", "requests", "tempfile", "shutil", "io",
    "scoreline.engine.session", "scoreline.engine.filesystem", "scoreline.tables.delta", "scoreline.context",
    "scoreline.sources.reader", "scoreline.registry",
}  # fmt: skip
# names, not actions: a quoted identifier, the names of columns, a path that is never opened
HARMLESS = {
    ("config/settings", "pathlib"),
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def uses(path: Path) -> set[str]:
    """What a module imports: packages, and of this project each name that something above it may have."""
    found = set()
    for name in imports(path):
        parts = name.split(".")
        found |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    return found


@pytest.mark.parametrize("module", PURE)
def test_a_module_that_decides_does_no_io(module: str) -> None:
    used = uses(PACKAGE / f"{module}.py")
    assert {name for name in used & READS_AND_WRITES if (module, name) not in HARMLESS} == set()


@pytest.mark.parametrize("module", PURE)
def test_a_module_that_decides_starts_no_work(module: str) -> None:
    tree = ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8")))
    calls = {node.func.attr for node in tree if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    assert calls & {"collect", "first", "toPandas", "toArrow", "show", "save", "load", "now", "getOrCreate"} == set()


def test_what_runs_in_workers_needs_no_spark() -> None:
    workers = [*(PACKAGE / "scoring").glob("*.py"), *(PACKAGE / "models").rglob("*.py")]
    assert [p.name for p in workers if any(name.startswith("pyspark") for name in imports(p))] == []


def test_one_module_an_engine_builds_the_session_and_one_touches_the_environment_of_java() -> None:
    text = {p.name: p.read_text(encoding="utf-8") for p in SOURCE.rglob("*.py")}
    assert [name for name, code in sorted(text.items()) if "SparkSession.builder" in code] == ["sail.py", "session.py"]
    assert [name for name, code in text.items() if '"JAVA_HOME"] =' in code] == ["java.py"]


def test_the_seams_ask_which_engine_it_is_and_nothing_else() -> None:
    asking = {
        p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py") if '.name == "embedded"' in p.read_text()
    }
    assert asking == {
        "pipeline/distribute.py", "sources/parquet.py", "sources/postgres.py", "sources/reader.py",
        "sources/text_files.py", "tables/delta.py",
    }  # fmt: skip


def test_every_function_that_a_command_gives_a_context_is_a_step() -> None:
    """So that a session's own settings come back."""
    commands = [PACKAGE / "api.py", *(PACKAGE / "cli").glob("*.py"), SOURCE / "scoreline_fraud" / "cli.py"]
    called = set().union(*(imports(path) for path in commands))
    found, missing = 0, []
    for path in SOURCE.rglob("*.py"):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef) or f"{module}.{node.name}" not in called:
                continue
            first = node.args.args[0].annotation if node.args.args else None
            if isinstance(first, ast.Name) and first.id == "Context":
                found += 1
                if "step" not in [d.id for d in node.decorator_list if isinstance(d, ast.Name)]:
                    missing.append(f"{module}.{node.name}")
    assert missing == []
    assert found >= 13


def test_jobs_are_arguments_and_one_call() -> None:
    long = {p.name: len(p.read_text().splitlines()) for p in (ROOT / "jobs").glob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 25} == {}


def test_no_machine_path_is_committed() -> None:
    import subprocess

    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not files:
        pytest.skip("no git checkout here")
    secret = "/" + "work/"
    text = [f for f in files if Path(f).suffix in {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".ipynb", ""}]
    assert [
        f for f in text if (ROOT / f).is_file() and secret in (ROOT / f).read_text(encoding="utf-8", errors="replace")
    ] == []
