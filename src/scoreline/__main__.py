"""`python -m scoreline`: the command line, where the script `scoreline` is not on the path."""

from scoreline.cli.main import entry

entry()
