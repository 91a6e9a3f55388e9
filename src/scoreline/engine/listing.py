"""Which data files there are at a place, how large they are and when they were changed last; and some of them."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scoreline.engine.embedded.files import DataFile, chosen_files, data_files, uri
from scoreline.engine.engine import engine_of
from scoreline.engine.filesystem import shown

__all__ = [
    "Files", "ListedFile", "Place", "address", "addresses_at", "base_path", "digests", "escaped", "listed",
    "local_files", "looked_again", "spark_paths",
]  # fmt: skip

_AT_ONCE = 4  # files of this machine that are read at once


@dataclass(frozen=True)
class ListedFile:
    """A file by its address, in bytes and microseconds since 1970."""

    address: str
    size: int
    modified_us: int


@dataclass(frozen=True)
class Files:
    """Some files of a place (a folder or a pattern), by their addresses; as text it is the place."""

    place: str
    addresses: tuple[str, ...]

    def __str__(self) -> str:
        return self.place


Place = str | Files


def listed(spark: SparkSession, place: str) -> list[ListedFile]:
    """The data files of a file, a folder or a pattern, by the rules by which Spark lists them; none is opened."""
    if _is_stored(place):
        return _of_store(engine_of(spark).stored([place]))
    return list(_of_disk(file.path for file in data_files(place)))


def looked_again(spark: SparkSession, addresses: Sequence[str]) -> list[ListedFile]:
    """The same files as they are now; one of this machine that is gone is left out."""
    if any(map(_is_stored, addresses)):
        return _of_store(engine_of(spark).stored(escaped(addresses)))
    return list(_of_disk(Path(shown(address)) for address in addresses))


def digests(spark: SparkSession, addresses: Sequence[str]) -> dict[str, str]:
    """The sha256 of each file's bytes; one of this machine that cannot be read has none."""
    if any(map(_is_stored, addresses)):
        found = engine_of(spark).stored(escaped(addresses)).select("path", F.sha2("content", 256)).collect()
        return {_address(path): digest for path, digest in found}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        of_each = zip(addresses, pool.map(_digest, addresses), strict=True)
        return {address: digest for address, digest in of_each if digest}


def addresses_at(spark: SparkSession, place: Place) -> list[str]:
    """The data files of a place, all of them or those that were chosen, by their addresses."""
    return list(place.addresses) if isinstance(place, Files) else engine_of(spark).files(place)


def local_files(place: Place) -> list[DataFile]:
    """The same for files of this machine, with the columns that their folders give."""
    return chosen_files(place.place, place.addresses) if isinstance(place, Files) else data_files(place)


def spark_paths(place: Place) -> list[str]:
    """What a reader of Spark's is given; in the name of a chosen file no sign is a pattern."""
    return escaped(place.addresses) if isinstance(place, Files) else [place]


def address(place: str) -> str:
    """A folder as a URI, whether it is named so, as Hadoop names it, or as a path of this machine."""
    return _address(place) if re.match(r"[a-zA-Z][\w+.-]*:", place) else uri(Path(place).absolute())


def base_path(place: Place) -> dict[str, str]:
    """The option by which Spark makes columns of folders where it is given files."""
    is_folder = isinstance(place, Files) and not re.search(r"[*?\[{]", place.place)
    return {"basePath": str(place)} if is_folder else {}


def _is_stored(place: str) -> bool:
    return "://" in shown(place)


def _of_disk(paths: Iterable[Path]) -> Iterator[ListedFile]:
    for path in paths:
        try:
            found = path.stat()
        except FileNotFoundError:  # since it was listed
            continue
        yield ListedFile(uri(path), found.st_size, found.st_mtime_ns // 1000)


def _of_store(files: DataFrame) -> list[ListedFile]:
    found = files.select("path", "length", F.unix_micros("modificationTime")).collect()
    return sorted((ListedFile(_address(row[0]), row[1], row[2]) for row in found), key=lambda file: file.address)


def _address(path: str) -> str:
    """As a URI: a store's path is given as it is."""
    return re.sub(r"[ %#?]", lambda sign: f"%{ord(sign[0]):02X}", path)


def escaped(addresses: Iterable[str]) -> list[str]:
    """Files as a reader of Spark's is given them: no sign in their names is a pattern."""
    return [re.sub(r"([*?\[\]{}\\])", r"\\\1", shown(address)) for address in addresses]


def _digest(address: str) -> str | None:
    try:
        with Path(shown(address)).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
