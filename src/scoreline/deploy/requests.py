"""What is sent: commands and requests as values, so that `--dry-run` prints exactly what would be done."""

import base64
import http.client
import json
import os
import shlex
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scoreline.errors import ConfigurationError, RunFailed, told

_SECONDS = 60


@dataclass(frozen=True)
class Command:
    """A program with its arguments; `environment` is added to the process's own."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        settings = [f"{key}={shlex.quote(value)}" for key, value in self.environment.items()]
        return " ".join([*settings, shlex.join(self.arguments)])

    def run(self) -> str:
        """Run to the end, its output where ours goes; raises ConfigurationError if the program is not here."""
        program = self.arguments[0]
        if shutil.which(program) is None:
            raise ConfigurationError(f"{program} is not on this machine's PATH. Install it, or use --dry-run.")
        done = subprocess.run(self.arguments, check=False, env={**os.environ, **self.environment})
        if done.returncode != 0:
            raise RunFailed(f"{Path(program).name} ended with exit code {done.returncode}; its own lines are above.")
        return ""


@dataclass(frozen=True)
class Document:
    """A filled request, written to a file for the client that reads it."""

    path: Path
    content: str

    def __str__(self) -> str:
        return f"# {self.path}\n{self.content}"

    def run(self) -> str:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.content, encoding="utf-8")
        return ""


@dataclass(frozen=True)
class Post:
    """An HTTP request with a JSON body; password and token are in no representation of it."""

    url: str
    body: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        login = f" -u {shlex.quote(self.user)}" if self.user else ""
        headers = "-H 'Content-Type: application/json' -H 'X-Requested-By: scoreline'"
        if self.token is not None:
            headers += " -H 'Authorization: Bearer ***'"
        return f"curl -X POST{login} {headers} {shlex.quote(self.url)} -d {shlex.quote(self.body)}"

    def run(self) -> str:
        """Send it; returns what the server answered. Raises RunFailed with the server's word on it."""
        headers = {"Content-Type": "application/json", "X-Requested-By": "scoreline"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        elif self.user:
            login = base64.b64encode(f"{self.user}:{self.password or ''}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        # not `requests`: it trusts certifi's authorities instead of the machine's, and lets ~/.netrc replace a token
        request = urllib.request.Request(self.url, self.body.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:300]
            raise RunFailed(f"{self.url} answered {error.code}: {said or error.reason}") from None
        except OSError as error:
            raise RunFailed(f"{self.url} cannot be reached: {told(error)}") from None
        except http.client.HTTPException as error:
            raise RunFailed(f"{self.url} did not answer to the end: {told(error)}") from None


Part = Command | Document | Post


def filled_json(text: str, arguments: tuple[str, ...], *, where: str) -> str:
    """A JSON request whose list item "${arguments}" becomes the job's arguments.

    >>> filled_json('["run", "${arguments}"]', ("--quiet",), where="x")
    '[\\n  "run",\\n  "--quiet"\\n]'
    """
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{where}: not readable as JSON: {told(error)}.") from None
    return json.dumps(_spliced(tree, arguments), indent=2)


def _spliced(value: object, arguments: tuple[str, ...]) -> object:
    if isinstance(value, dict):
        return {key: _spliced(child, arguments) for key, child in value.items()}
    if isinstance(value, list):
        parts = [list(arguments) if child == "${arguments}" else [_spliced(child, arguments)] for child in value]
        return [part for found in parts for part in found]
    if isinstance(value, str):
        return value.replace("${arguments}", shlex.join(arguments))
    return value
