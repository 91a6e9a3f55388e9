"""Databases, each started once; credentials for the stand-in of DynamoDB, before a session's workers inherit them."""

import os
from collections.abc import Iterator

import pytest

from integration.databases.mariadb import mariadb
from integration.databases.server import postgres

for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    os.environ.setdefault(name, "none")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[str]:
    with mariadb() as url:
        yield url


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    stand_in = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    stand_in.start()
    host, port = stand_in.get_host_and_port()
    yield f"http://{host}:{port}"
    stand_in.stop()
