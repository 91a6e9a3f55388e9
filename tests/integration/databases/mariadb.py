"""A MariaDB of our own: started by a user that is not root, on loopback, and stopped at the end."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from integration.databases.server import free_port, owner


@contextmanager
def mariadb() -> Iterator[str]:
    """`mysql+pymysql://` of an empty database; skips where MariaDB is not installed."""
    pytest.importorskip("pymysql")
    program = shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip(
            "MariaDB is not installed: apt-get install mariadb-server-core, or the program mariadbd on the PATH"
        )
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="scoreline-mariadb-") as folder:
        user = owner(Path(folder))
        (data := Path(folder) / "data").mkdir()
        if user:
            shutil.chown(data, user)
        options = {
            "datadir": data,
            "tmpdir": folder,
            "socket": f"{folder}/socket",
            "port": port,
            "bind-address": "127.0.0.1",
            "innodb-flush-log-at-trx-commit": 0,
            "innodb-log-file-size": "4M",
            "innodb-buffer-pool-size": "32M",
            "innodb-lock-wait-timeout": 1,
        }
        # without a password table: then it needs no tables of its own
        command = [program, "--no-defaults", "--skip-grant-tables", *(f"--{k}={v}" for k, v in options.items())]
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user
        )
        try:
            _made(f"mysql+pymysql://root@127.0.0.1:{port}", server)
            yield f"mysql+pymysql://root@127.0.0.1:{port}/app"
        finally:
            server.kill()
            server.wait()


def _made(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Make the database `app` as soon as the server answers."""
    engine, end = sa.create_engine(url), time.monotonic() + 30
    while True:
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE DATABASE app"))
            break
        except sa.exc.OperationalError:
            if server.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
    engine.dispose()
