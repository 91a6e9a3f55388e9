"""A command that stands in for `scoreline`, and what a scheduler has to make of its exit codes."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "conf" / "deploy"

CONFIG = "--config /etc/scoreline/pipeline.yaml"
STARTED = {"ingest": f"ingest --new {CONFIG}", "run": f"run {CONFIG}", "export": f"export {CONFIG}"}
# the exit codes of `scoreline run`, one an attempt; the steps that are started, in turn; those that end well
CASES: list[tuple[list[int | str], list[str], set[str]]] = [
    ([0], ["ingest", "run", "export"], {"ingest", "run", "export"}),
    ([1, 130, 0], ["ingest", "run", "run", "run", "export"], {"ingest", "run", "export"}),
    ([1, 1, 1, 1, 0], ["ingest", "run", "run", "run", "run"], {"ingest"}),
    ([2, 0], ["ingest", "run"], {"ingest"}),
    ([3, 0], ["ingest", "run"], {"ingest"}),
]


def installed(file: str, folder: Path, codes: list[int | str]) -> Path:
    """The example as somebody has put it into `folder`: with that command, and without a wait between two attempts."""
    (folder / "calls").write_text("")
    (folder / "codes").write_text("".join(f"{code}\n" for code in codes))
    command = folder / "scoreline"
    command.write_text(
        f"""#!/bin/sh
cd {folder}
echo "$@" >> calls
echo '{{"state": "published"}}'
[ "$1" = run ] || exit 0
code=$(head -n 1 codes)
sed -i 1d codes
[ "$code" = hangs ] && exec sleep 60
exit "$code"
"""
    )
    command.chmod(0o755)
    text = (DEPLOY / file).read_text()
    at_once = "timedelta(0)" if "WAIT = timedelta" in text else "0"
    for name, value in (("COMMAND", f'"{command}"'), ("FOLDER", f'"{folder}"'), ("WAIT", at_once)):
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1, f"{file} has no {name}"
    target = folder / "dags" / Path(file).name
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
    return target


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()
