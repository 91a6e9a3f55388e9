"""The reference pages say what the code says: two that programs write, and codes.md, which is written by hand."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import commands_page
import tables_page
from scoreline import errors
from scoreline.pipeline.manifest import MEANING
from scoreline.tables.names import TABLES, State

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "scoreline"
CODES = (ROOT / "docs" / "codes.md").read_text(encoding="utf-8")
# what may end in `scoring_errors`: the first argument of these, or what is put into `code`
FAILURES = {"InvalidOutput", "BadInput", "ChildDied", "_Failure", "fail"}
# a batch only: a row that is asked alone has no other order
OF_BATCHES = {"ROW_ORDER"}


def section(title: str) -> str:
    return CODES.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def listed(title: str) -> set[str]:
    """What stands in the first column of a table of codes.md, each code of a row for itself."""
    rows = [line.split(" | ")[0] for line in section(title).splitlines() if line.startswith("| ")]
    return {code for row in rows for code in re.findall(r"`([^`]+)`", row)}


def trees(*folders: str) -> Iterator[ast.AST]:
    for folder in folders:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def first_argument(node: ast.AST, names: set[str], place: int = 0) -> ast.expr | None:
    if not isinstance(node, ast.Call) or len(node.args) <= place:
        return None
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return node.args[place] if called in names else None


@pytest.mark.parametrize("of", [commands_page, tables_page], ids=lambda of: of.PAGE.name)
def test_a_page_is_the_one_that_the_code_makes(of: object) -> None:
    page, made = of.PAGE, of.page()  # type: ignore[attr-defined]
    assert page.read_text(encoding="utf-8") == made, f"write it anew: python tests/{page.stem}_page.py"


def test_every_table_and_column_is_explained() -> None:
    assert set(tables_page.TABLES) == {*TABLES, "_staging_…"}
    assert [line for line in tables_page.page().splitlines() if line.endswith(("| None |", "|  |"))] == []


def test_the_command_line_is_told_without_spark() -> None:
    asked = "import sys, commands_page; commands_page.page(); print('pyspark' in sys.modules, 'mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT / "tests")
    assert done.stdout.split() == ["False", "False"]


def test_every_exit_code_is_told_and_belongs_to_its_error() -> None:
    told = {
        name: int(row.split(" | ")[0].strip("| "))
        for row in section("Exit codes").splitlines()
        for name in re.findall(r"`([A-Z]\w+)`", row)
        if row.startswith("| ")
    }
    kinds = {name: getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert told == {name: kinds[name].exit_code for name in kinds if name not in ("ScorelineError", "NotUnique")}


def test_every_reason_to_be_due_is_told_in_its_words() -> None:
    rows = [f"| `{reason}` | {meaning} |" for reason, meaning in MEANING.items()]
    assert [line for line in section("Why a user is due").splitlines() if line.startswith("| `")] == rows


def test_every_code_of_a_user_who_failed_is_told() -> None:
    found = set()
    for node in trees("scoring", "models"):
        given = first_argument(node, FAILURES) or first_argument(node, FAILURES, 1)
        is_code = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "code"
        for part in ast.walk(given or (node if is_code else ast.Pass())):
            if isinstance(part, ast.Constant) and re.fullmatch(r"[A-Z]+(_[A-Z]+)+", str(part.value)):
                found.add(part.value)
    assert found - OF_BATCHES == listed("Codes in `scoring_errors`")


def test_every_reason_in_quarantine_is_told() -> None:
    """A reason with a value in it stands on the page with `…` in its place."""
    columns = ("user_id", "item_id")
    found = {"key is missing", "key is not an exact whole number"}
    kinds = ("a whole number", "an exact whole number")
    for node in trees("ingest"):
        if (reason := first_argument(node, {"_rule"})) is None:
            continue
        shown = "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in (reason.values if isinstance(reason, ast.JoinedStr) else [reason])
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
        for column in columns if "{column}" in shown else ("",):
            for kind in kinds if "{whole" in shown else ("",):
                whole = re.sub(r"\{whole[^}]*\}", kind, shown.replace("{column}", column))
                found.add(re.sub(r"\{[^}]*\}", "…", whole))
    assert found == listed("Reasons in `quarantine`")


def test_every_state_of_a_run_is_told() -> None:
    assert set(get_args(State)) == listed("States in `runs`")
