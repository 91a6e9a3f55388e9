"""What a library says reaches nobody as it is: `errors.told` puts it into words, at every `except` there is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from scoreline.cli.main import main
from scoreline.redaction import redacted

SOURCE = Path(__file__).parents[2] / "src"
# ours, and click's: their texts are messages already
IN_WORDS = {
    "AuditRefused", "ChildDied", "ClickException", "ConfigurationError", "Exit", "InputError", "InvalidOutput",
    "Gone", "JournalFailed", "RunFailed", "ScorelineError", "ServingError", "Superseded", "WorkerDied", "WorkerEnded",
    "_Refused", "_Unavailable",
}  # fmt: skip
# what a model raised is shown by its own name and words: its author reads it
THE_MODELS = {("scoreline.scoring.task", "_failure_of")}
# commands that an error speaks of, and that nobody is to type now
SPOKEN_OF = (
    "scoreline vacuum removes",
    "by scoreline train",
    "score with scoreline run",
    "that scoreline doctor prints",
)
_LOOKS = {"search", "match", "findall", "any"}  # at a text, without showing it


def caught(tree: ast.AST) -> Iterator[tuple[str, str, list[ast.stmt]]]:
    """The name of each error of a library that is caught, or given to a function; where, and what is done with it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.name and node.type:
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if not {ast.unparse(kind).rsplit(".", maxsplit=1)[-1] for kind in kinds} <= IN_WORDS:
                yield node.name, f"line {node.lineno}", node.body
        elif isinstance(node, ast.FunctionDef):
            for argument in node.args.args:
                kind = ast.unparse(argument.annotation) if argument.annotation else ""
                if kind.endswith(("Exception", "BaseException")) and node.name not in ("told", "__exit__"):
                    yield argument.arg, node.name, node.body


def shown_raw(node: ast.AST, name: str) -> bool:
    """Whether the text of the error `name` gets into a message, a log line or a variable as it is."""
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if called == "told" or called in _LOOKS:
            return False
        if called in ("str", "repr") and any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node)):
            return True
        logs = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value).endswith("log")
        if logs and any(isinstance(argument, ast.Name) and argument.id == name for argument in node.args):
            return True
    if isinstance(node, ast.Compare):
        return False
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name) and node.value.id == name:
        return True
    return any(shown_raw(child, name) for child in ast.iter_child_nodes(node))


def test_advice_is_not_taken_for_a_secret() -> None:
    """What a message says before it is filled in: `signature=` in one was hidden as that of a signed URL."""
    hidden = []
    for path in sorted(SOURCE.rglob("*.py")):
        if path.name == "redaction.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and redacted(node.value) != node.value:
                hidden.append(f"{path.relative_to(SOURCE)}: {redacted(node.value)}")
    assert hidden == []


def test_no_librarys_error_is_shown_as_it_is() -> None:
    found, raw = 0, []
    for path in sorted(SOURCE.rglob("*.py")):
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for name, where, body in caught(ast.parse(path.read_text(encoding="utf-8"))):
            found += 1
            if (module, where) not in THE_MODELS and any(shown_raw(statement, name) for statement in body):
                raw.append(f"{module}, {where}")
    assert raw == []
    assert found > 40


def test_a_command_to_type_is_written_with_the_options_that_it_needs() -> None:
    """By `typed`, which knows `--config`."""
    commands = re.compile(rf"scoreline (?:{'|'.join(main.commands)})\b")
    bare = [
        f"{path.relative_to(SOURCE)}, line {part.lineno}: {part.value}"
        for path in sorted((SOURCE / "scoreline").rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in IN_WORDS
        for part in ast.walk(call)
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and commands.search(part.value)
        if not any(spoken in part.value for spoken in SPOKEN_OF)
    ]
    assert bare == []
