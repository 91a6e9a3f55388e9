"""What a library's error says, in words: no error class, no Java, no stack trace, no plan."""

import errno
import re

import pytest
import sqlalchemy as sa
from pyspark.errors import PySparkException

from scoreline.errors import told

TABLE = """[TABLE_OR_VIEW_NOT_FOUND] The table or view `main`.`films` cannot be found. Verify the spelling.
If you did not qualify the name with a schema, verify the current_schema() output. SQLSTATE: 42P01; line 1 pos 14;
'Project [*]
+- 'UnresolvedRelation [main, films], [], false
"""
READ = """[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file file:///t/part-0.parquet. File does \
not exist. It is possible the underlying files have been updated. SQLSTATE: KD001

JVM stacktrace:
org.apache.spark.SparkFileNotFoundException
\tat org.apache.spark.sql.errors.QueryExecutionErrors$.fileNotExistError(QueryExecutionErrors.scala:847)
"""
FULL = """An error occurred while calling o83.save.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 3.0 failed 1 times, most recent \
failure: Lost task 0.0 in stage 3.0 (TID 5) (host executor driver): java.io.IOException: No space left on device
\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)
Caused by: java.io.IOException: No space left on device
\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)
"""
HEAP = """An error occurred while calling o83.collectToPython.
: java.lang.OutOfMemoryError: Java heap space
\tat java.base/java.util.Arrays.copyOf(Arrays.java:3537)
"""
MISSING = """An error occurred while calling o12.load.
: java.lang.RuntimeException: java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found
\tat org.apache.hadoop.conf.Configuration.getClass(Configuration.java:2737)
Caused by: java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found
\t... 33 more
"""
EMPTY = "An error occurred while calling o1.get.\n: java.lang.NullPointerException\n\tat x.y(z.java:1)\n"
WORKER = """[PYTHON_EXCEPTION] An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "model.py", line 3, in predict
ValueError: no such film

JVM stacktrace:
\tat org.apache.spark.api.python.PythonRunner.read(PythonRunner.scala:1)
"""


class SomeLibraryError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            PySparkException(TABLE),
            "The table or view `main`.`films` cannot be found. Verify the spelling. If you did not qualify the name "
            "with a schema, verify the current_schema() output.",
        ),
        (
            PySparkException(READ),
            "Encountered error while reading file file:///t/part-0.parquet. File does not exist.",
        ),
        (PySparkException(FULL), "No space left on device"),
        (PySparkException(HEAP), "Java heap space"),
        (PySparkException(MISSING), "Class S3AFileSystem not found"),
        (PySparkException(EMPTY), "NullPointerException"),
        (PySparkException(WORKER), "ValueError: no such film"),
        (SomeLibraryError("RESOURCE_DOES_NOT_EXIST: Run 'x' not found"), "Run 'x' not found"),
        (SomeLibraryError("column [MY_COLUMN] is double\nmore"), "column [MY_COLUMN] is double"),
        (SomeLibraryError("[UNSUPPORTED] no: [DELTA_NO_TABLE] here"), "no: here"),
        (SomeLibraryError(), "SomeLibraryError"),
        (sa.exc.OperationalError("SELECT secret", {}, Exception("no such table: films")), "no such table: films"),
        (OSError(errno.EACCES, "Permission denied", "/data/x"), "[Errno 13] Permission denied: '/data/x'"),
        (OSError("no number"), "no number"),
        (KeyError("name"), "'name'"),
    ],
)
def test_a_librarys_error_in_words(error: Exception, words: str) -> None:
    assert told(error) == words


def test_it_is_one_line_that_is_not_endless() -> None:
    said = told(SomeLibraryError("word " * 10_000))
    assert re.fullmatch(r".{500,800}", said)
    assert " ... " in said
