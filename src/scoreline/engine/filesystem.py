"""Folders on whatever storage the tables are: what Delta and SQL have no word for.

A classic session lends its JVM's file systems, which know every store that Spark knows, with Spark's credentials. A
session of Spark Connect has no JVM here; there Arrow's file systems do it, with the credentials of the environment.
"""

import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pyspark.sql import SparkSession

if TYPE_CHECKING:
    import pyarrow.fs


def is_remote(spark: SparkSession) -> bool:
    """Whether this is a session of Spark Connect."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def remove(spark: SparkSession, location: str) -> None:
    """Delete a folder and all that is in it; nothing happens if it is not there."""
    if is_remote(spark):
        files, path = _arrow(location)
        if _is_folder(files, path):
            files.delete_dir(path)
        return
    hadoop, where = _hadoop(spark, location)
    hadoop.delete(where, True)


def has(spark: SparkSession, location: str, pattern: str) -> bool:
    """Whether there is such a folder, and something directly in it whose name matches a shell pattern."""
    if is_remote(spark):
        return any(fnmatchcase(name, pattern) for name in folders(spark, location))
    hadoop, where = _hadoop(spark, location)
    only = spark._jvm.org.apache.hadoop.fs.GlobFilter(pattern)  # type: ignore[union-attr]
    return bool(hadoop.exists(where)) and len(hadoop.listStatus(where, only)) > 0


def folders(spark: SparkSession, location: str) -> list[str]:
    """Names of what lies directly in a folder; none if it is not there."""
    if is_remote(spark):
        import pyarrow.fs

        files, path = _arrow(location)
        if not _is_folder(files, path):
            return []
        return [entry.base_name for entry in files.get_file_info(pyarrow.fs.FileSelector(path))]
    hadoop, where = _hadoop(spark, location)
    return [entry.getPath().getName() for entry in hadoop.listStatus(where)] if hadoop.exists(where) else []


def touched_at(spark: SparkSession, location: str) -> datetime:
    """When the newest file of a folder was written; the epoch if there is none."""
    if is_remote(spark):
        import pyarrow.fs

        files, path = _arrow(location)
        inside = files.get_file_info(pyarrow.fs.FileSelector(path, recursive=True, allow_not_found=True))
        return max((entry.mtime for entry in inside if entry.mtime), default=datetime.fromtimestamp(0, UTC))
    hadoop, where = _hadoop(spark, location)
    found, newest = hadoop.listFiles(where, True), hadoop.getFileStatus(where).getModificationTime()
    while found.hasNext():
        newest = max(newest, found.next().getModificationTime())
    return datetime.fromtimestamp(newest / 1000, UTC)


def first_bytes(spark: SparkSession, file: str, most: int) -> bytes:
    """The beginning of a file, which is named as Spark names it: by a URI."""
    if file.startswith("file:"):
        with Path(shown(file)).open("rb") as local:
            return local.read(most)
    if is_remote(spark):
        files, path = _arrow(file)
        with files.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read(most))
    where = hadoop_path(spark, file)
    opened = where.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf()).open(where)
    try:
        return bytes(opened.readNBytes(most))
    finally:
        opened.close()


def hadoop_path(spark: SparkSession, file: str) -> Any:
    """A file that Spark names by a URI, as Hadoop's path."""
    jvm: Any = spark._jvm
    return jvm.org.apache.hadoop.fs.Path(jvm.java.net.URI(file))


def shown(file: str) -> str:
    """A file's name for people, of the URI that Spark names it by: a path on this machine, without escapes.

    >>> shown("file:///data/a%20b.csv")
    '/data/a b.csv'
    """
    return unquote(re.sub("^file:/+", "/", file))


def _hadoop(spark: SparkSession, location: str) -> tuple[Any, Any]:
    path = spark._jvm.org.apache.hadoop.fs.Path(location)  # type: ignore[union-attr]
    return path.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf()), path


def _arrow(location: str) -> "tuple[pyarrow.fs.FileSystem, str]":
    import pyarrow.fs

    # Arrow knows Amazon's store as s3, Hadoop as s3a
    known = location.replace("s3a://", "s3://", 1) if location.startswith("s3a://") else location
    if "://" not in known and not known.startswith("file:"):
        known = str(Path(known).absolute())
    found: tuple[pyarrow.fs.FileSystem, str] = pyarrow.fs.FileSystem.from_uri(known)
    return found


def _is_folder(files: "pyarrow.fs.FileSystem", path: str) -> bool:
    import pyarrow.fs

    return bool(files.get_file_info(path).type == pyarrow.fs.FileType.Directory)
