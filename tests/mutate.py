"""`make mutate`: break the deciding modules in small ways, one at a time, and see which breaks no test notices.

    python tests/mutate.py [--each N] [--seed N] [MODULE ...]

cosmic-ray makes and applies the mutations, in a copy of the checkout; of each module N are drawn (0: all of them). A
module is tried with the tests that are about it. Those that need Spark share one JVM: each is a process that joins it.
"""

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STATES = "tests/faults/test_state_machine.py::test_the_logs_never_hide_a_user_who_is_due"
# the tests that are about each module, the quick ones first: pytest stops at the first that fails
STAGED = " ".join(  # the whole file takes longer than a mutation may
    f"tests/integration/pipeline/test_run.py::test_{name}"
    for name in (
        "an_interrupted_run_is_taken_up_again",
        "a_refused_run_leaves_the_table_and_keeps_its_staged_rows",
        "staged_slices_of_other_inputs_are_not_taken_up",
    )
)
STORED, SEEN = "tests/unit/test_stored_values.py", "tests/integration/scoring/test_seen.py"
SENT = [
    "tests/unit/export/test_rows.py",
    "tests/unit/export/test_pointer.py",
    "tests/integration/databases/test_protocol.py -k sqlite",
]
TESTS = {
    "tables/history": ["tests/unit/tables/test_history.py", STATES],
    "pipeline/changes": ["tests/unit/pipeline/test_changes.py", STATES],
    "redaction": ["tests/unit/test_redaction.py"],
    "config/overrides": ["tests/unit/config/test_overrides.py"],
    "export/destinations/pointer": SENT,
    "export/destinations/rows": SENT,
    "pipeline/plan": ["tests/unit/pipeline/test_plan.py", "tests/integration/pipeline/test_due_users.py"],
    "tables/row_hash": [STORED, "tests/integration/tables/test_row_hash.py"],
    "scoring/seen": [SEEN],
    "ingest/histories": [STORED, SEEN, "tests/integration/ingest/test_ingest.py"],
    "pipeline/fence": [STORED, "tests/faults/test_overlap.py", "tests/integration/pipeline/test_strangers.py"],
    "pipeline/staging": [STORED, STAGED],
    "pipeline/audit": ["tests/unit/pipeline/test_audit.py", "tests/faults/test_audit_refuses.py"],
}
# One of each kind is enough: `+` for `-` is noticed where `*` for `-` is. Annotations are mutated, too, and fail soon.
LEFT_OUT = [
    r"core/ReplaceBinaryOperator_(Add|Sub)_(?!Sub|Add).*",
    r"core/ReplaceBinaryOperator_(Mul|Div|FloorDiv|Mod|Pow)_(?!Add).*",
    r"core/ReplaceBinaryOperator_(RShift|LShift|BitXor)_.*",
    r"core/ReplaceBinaryOperator_BitOr_(?!BitAnd).*",
    r"core/ReplaceBinaryOperator_BitAnd_(?!BitOr).*",
    r"core/ReplaceComparisonOperator_(Eq|NotEq)_(?!Eq|NotEq).*",
    r"core/ReplaceComparisonOperator_(Lt|LtE|Gt|GtE)_(Eq|NotEq|Is|IsNot)",
    r"core/ReplaceComparisonOperator_(Is|IsNot)_(?!Is|IsNot).*",
    r"core/ReplaceUnaryOperator_USub_.*",
    r"core/(VariableReplacer|VariableInserter|RemoveDecorator)",
]
_CONFIGURATION = """[cosmic-ray]
module-path = "src/scoreline/{module}.py"
timeout = 240.0
excluded-modules = []
test-command = "{command}"
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = {left_out}
"""
# What a driver of the tests joins: the session that started the JVM is stopped, so that each makes its own.
_JVM = """
import sys
sys.path.insert(0, "tests")
from pyspark import SparkContext
from quick import QUICK
from scoreline.engine.session import get_session
session = get_session("mutations", {**QUICK, "spark.sql.warehouse.dir": sys.argv[1]})
session.range(1).count()
found = SparkContext._gateway.gateway_parameters
session.stop()
print(found.port, found.auth_token, flush=True)
sys.stdin.read()
"""


def mutate(module: str, tools: Path, folder: Path, *, each: int, seed: int) -> tuple[int, list[str]]:
    """How many mutations of a module were tried, and those that no test noticed, as diffs."""
    name = module.replace("/", "_")
    configuration, session = folder / f"{name}.toml", folder / f"{name}.sqlite"
    tests = " && ".join(f"{sys.executable} -m pytest -q -x -p no:cacheprovider {test}" for test in TESTS[module])
    command = f"sh -c '{tests}'"
    configuration.write_text(_CONFIGURATION.format(module=module, command=command, left_out=LEFT_OUT))
    copy = folder / "checkout"
    subprocess.run([tools / "cosmic-ray", "init", configuration, session], cwd=copy, check=True)
    subprocess.run([tools / "cr-filter-operators", session, configuration], cwd=copy, check=True)
    _draw(session, each, random.Random(f"{module} {seed}"))
    subprocess.run([tools / "cosmic-ray", "baseline", configuration], cwd=copy, check=True)
    subprocess.run([tools / "cosmic-ray", "exec", configuration, session], cwd=copy, check=True)
    with sqlite3.connect(session) as found:
        outcomes = found.execute(
            "SELECT test_outcome, diff FROM work_results WHERE worker_outcome = 'NORMAL'"
        ).fetchall()
    return len(outcomes), [diff for outcome, diff in outcomes if outcome == "SURVIVED"]


def _draw(session: Path, each: int, dice: random.Random) -> None:
    """Leave `each` of the mutations that are to be tried."""
    with sqlite3.connect(session) as found:
        skipped = {job for (job,) in found.execute("SELECT job_id FROM work_results")}
        jobs = sorted(job for (job,) in found.execute("SELECT job_id FROM work_items") if job not in skipped)
        drawn = set(dice.sample(jobs, min(each or len(jobs), len(jobs))))
        gone = [(job,) for job in [*jobs, *skipped] if job not in drawn]
        for table in ("work_results", "mutation_specs", "work_items"):
            found.executemany(f"DELETE FROM {table} WHERE job_id = ?", gone)


@contextmanager
def jvm(folder: Path) -> Iterator[dict[str, str]]:
    """A warm JVM, and the environment in which PySpark joins it instead of starting its own.

    Its Python workers have the JVM's path: without the copy in it they would run the code as it was.
    """
    command = [sys.executable, "-c", _JVM, str(folder / "warehouse")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder / "checkout", **pipes) as server:
        assert server.stdout is not None
        port, secret = server.stdout.readline().split()
        yield {"PYSPARK_GATEWAY_PORT": port, "PYSPARK_GATEWAY_SECRET": secret, "PYSPARK_PYTHON": sys.executable}
        server.kill()


def main() -> int:
    arguments = argparse.ArgumentParser(description="Mutations that no test notices.")
    arguments.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(TESTS)}")
    arguments.add_argument("--each", type=int, default=25, help="mutations of each module; 0: all")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--tools", type=Path, default=ROOT / ".venv-mutate" / "bin")
    given = arguments.parse_args()
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="scoreline-mutate-") as scratch:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
        for name in filter(None, listed.split("\0")):
            (target := Path(scratch) / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        os.environ["PYTHONPATH"] = str(Path(scratch) / "checkout" / "src")
        with jvm(Path(scratch)) as joined:
            os.environ |= joined
            for module in given.modules or TESTS:
                tried, found = mutate(module, given.tools, Path(scratch), each=given.each, seed=given.seed)
                survivors += len(found)
                print(f"{module}: {tried} tried, {len(found)} not noticed", flush=True)
                print("\n".join(found), flush=True)
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main())
