"""Files that come with the package: configurations and job files.

In a checkout they lie at its top; a wheel has them inside of the package, so that commands find them anywhere.
"""

import hashlib
import zipfile
from pathlib import Path

from scoreline import __version__

__all__ = ["here_or_shipped", "is_installed", "packed", "shipped"]

_PACKAGE = Path(__file__).parents[1]
ZIP = f"scoreline-{__version__}.zip"


def is_installed() -> bool:
    """Whether this is a package that was installed, with no checkout around it."""
    return (_PACKAGE / "jobs").is_dir()


def shipped(name: str) -> Path:
    """A file or folder that comes with the package, such as `conf/demo.yaml` or `jobs/score_users.py`."""
    return (_PACKAGE if is_installed() else _PACKAGE.parents[1]) / name


def here_or_shipped(name: str) -> Path:
    """The same; where the command was typed it wins, if there is one."""
    own = Path(name)
    return own if own.exists() else shipped(name)


def packed() -> Path:
    """The installed package as a zip for executors; in the user's cache, made once for each content."""
    both = [path for name in ("scoreline", "scoreline_fraud") for path in _PACKAGE.with_name(name).rglob("*")]
    files = sorted(path for path in both if path.is_file() and "__pycache__" not in path.parts)
    names = [str(path.relative_to(_PACKAGE.parent)) for path in files]
    content = hashlib.sha256()
    for name, path in zip(names, files, strict=True):
        content.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    target = Path.home() / ".cache" / "scoreline" / f"package-{content.hexdigest()[:12]}" / ZIP
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(".new")
        with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as written:
            for name, path in zip(names, files, strict=True):
                written.write(path, name)
        fresh.replace(target)
    return target
