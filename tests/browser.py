"""Pages in a real browser: Chromium as Debian has it, without a head."""

import shutil
import subprocess
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr")


def chromium() -> str:
    """The browser's command; skips the test where there is none."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs a browser: apt-get install chromium")
    return found


def opened(page: Path, *, width: int = 1200, dark: bool = False) -> tuple[str, list[str]]:
    """The page of a file as the browser has it after its scripts, and what its console says."""
    return visited(page.as_uri(), page.parent, width=width, dark=dark)


def visited(url: str, folder: Path, *, width: int = 1200, dark: bool = False) -> tuple[str, list[str]]:
    """The same of an address; what the browser keeps is in `folder`."""
    theme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    profile = f"--user-data-dir={folder / 'profile'}"
    asked = [chromium(), *_QUIET, profile, f"--window-size={width},900", *theme, "--dump-dom", url]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def measured(page: Path, expression: str, *, width: int = 1200, dark: bool = False) -> str:
    """What JavaScript says of a page that lets no script run: of a copy that does."""
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition('<meta http-equiv="Content-Security-Policy"')
    script = f"<script>document.title = 'measured ' + ({expression}) + ' end'</script>"
    copy = page.with_suffix(".copy.html")
    copy.write_text(head + rest.partition(">")[2].replace("</body>", f"{script}</body>"), encoding="utf-8")
    shown, console = opened(copy, width=width, dark=dark)
    assert console == []
    return shown.partition("<title>measured ")[2].partition(" end</title>")[0]
