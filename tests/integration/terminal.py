"""Commands as a user types them, in this process: exit code, standard output, standard error."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from scoreline.cli import main as cli


@dataclass(frozen=True)
class Said:
    """What a command said, and the code it left with."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        """The report of `--json`."""
        return json.loads(self.out)


class Terminal:
    """`terminal("run", "--json")`."""

    def __init__(self, config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        monkeypatch.setenv("SCORELINE_CONFIG", config)

    def __call__(self, *arguments: str) -> Said:
        self._capsys.readouterr()
        code = 0
        try:
            cli.entry(list(arguments))
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err, err
        return Said(code, out, err)
