"""The examples for Airflow and Dagster, as far as that can be seen without them; `make compat` runs them there."""

import ast

import click
import pytest

from schedulers.stub import DEPLOY, STARTED
from scoreline.cli.main import main
from scoreline.errors import AuditRefused, ConfigurationError

FILES = ("airflow/scoreline_dag.py", "dagster/definitions.py")


@pytest.mark.parametrize("options", [["--quiet"], ["--quiet", "--json"]])
def test_the_command_takes_what_the_examples_start(options: list[str]) -> None:
    for line in STARTED.values():
        name, *arguments = line.split()
        main.commands[name].make_context(name, [*arguments, *options], parent=click.Context(main))


@pytest.mark.parametrize("file", FILES)
def test_what_is_not_tried_again_are_our_exit_codes(file: str) -> None:
    tree = ast.parse((DEPLOY / file).read_text())
    [final] = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FINAL"
    ]
    assert set(ast.literal_eval(final)) == {ConfigurationError.exit_code, AuditRefused.exit_code}
