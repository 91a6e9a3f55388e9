"""The examples in docstrings are run."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import pytest

from scoreline import Pipeline

SOURCE = Path(__file__).parents[2] / "src"
WITH_EXAMPLES = sorted(path for path in SOURCE.rglob("*.py") if " >>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_examples_of_a_module_give_what_they_show(path: Path) -> None:
    name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    done = doctest.testmod(importlib.import_module(name))
    assert done.failed == 0
    assert done.attempted > 0


def test_there_are_examples() -> None:
    assert len(WITH_EXAMPLES) > 10


STEPS = {name: step for name, step in vars(Pipeline).items() if inspect.isfunction(step) and not name.startswith("_")}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_has_an_example_that_its_signature_takes(name: str) -> None:
    """A step needs Spark, so its example is not run: it is called as it may be, with every argument explained."""
    text = inspect.getdoc(STEPS[name]) or ""
    examples = "".join(example.source for example in doctest.DocTestParser().get_examples(text))
    calls = [call for call in ast.walk(ast.parse(examples)) if isinstance(call, ast.Call)]
    asked = [call for call in calls if ast.unparse(call.func) == f"films.{name}"]
    signature = inspect.signature(STEPS[name])
    for call in asked:
        signature.bind(None, *call.args, **{str(keyword.arg): keyword.value for keyword in call.keywords})
    assert asked
    assert [p for p in signature.parameters if p != "self" and f"\n    {p}: " not in text] == []
