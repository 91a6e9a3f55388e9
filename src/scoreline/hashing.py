"""Hashes of values, and of a model's whole folder: a model is code, and only code that was promoted is imported."""

import hashlib
import json
import os
from pathlib import Path

from scoreline.errors import InputError

__all__ = ["digest", "fingerprint", "verify"]


def digest(folder: Path) -> str:
    """sha256 over the names and contents of every file below a folder, as 64 hexadecimal digits.

    Hidden files and compiled code count. Raises InputError for a symbolic link or anything else that is no plain file:
    what it leads to can change without the folder changing.
    """
    total = hashlib.sha256()
    for path in sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        total.update(len(name).to_bytes(8, "big") + name + content)
    return total.hexdigest()


def verify(folder: Path, expected: str) -> None:
    """Raise InputError unless the folder's digest is `expected`; nothing of it is imported or unpickled."""
    found = digest(folder)
    if found != expected:
        raise InputError(
            f"the model in {folder} is not the one that was promoted: its sha256 is {found}, expected {expected}. "
            "Nothing of it was loaded. If somebody changed the copy here, remove the folder and it is fetched again; "
            "if the artifact store was changed, find out by whom before you promote that version again"
        )


def fingerprint(value: object) -> str:
    """A short stable hash of anything JSON can hold.

    >>> fingerprint({"k": 20}) == fingerprint({"k": 20}), len(fingerprint([]))
    (True, 16)
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _files(folder: Path) -> list[Path]:
    found = []
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise InputError(
                    f"{path} is a link or no plain file; a model's folder has plain files only. Log the model again "
                    "with the file itself"
                )
        found += [Path(place, name) for name in files]
    return found
