"""A session that knows failing:///, with the classes that `FailingFileSystem.java` is compiled to."""

import shutil
import subprocess
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from quick import QUICK
from scoreline.engine.session import get_session

_KIND = "scoreline.faults.FailingFileSystem"


def compiled(folder: Path) -> Path:
    """The classes; skips where there is no Java compiler."""
    import pyspark

    if shutil.which("javac") is None:
        pytest.skip("needs a Java compiler")
    jars = Path(pyspark.__file__).parent / "jars" / "*"
    source = Path(__file__).with_name("FailingFileSystem.java")
    subprocess.run(["javac", "-cp", str(jars), "-d", str(folder), str(source)], check=True)
    return folder


def on_failing_storage(classes: Path | str, *, slow: int = 0) -> SparkSession:
    """A session there; each commit of Delta takes `slow` milliseconds until it is seen."""
    java = f"{QUICK['spark.driver.extraJavaOptions']} -Dfailing.slow={slow}"
    return get_session(
        "failing storage",
        {
            **QUICK,
            "spark.driver.extraJavaOptions": java,
            "spark.driver.extraClassPath": str(classes),
            "spark.sql.warehouse.dir": f"{classes}/warehouse",
            "spark.hadoop.fs.failing.impl": _KIND,
            "spark.hadoop.fs.failing.impl.disable.cache": "false",
            "spark.hadoop.fs.AbstractFileSystem.failing.impl": f"{_KIND}$Context",
        },
    )
