"""What SQLAlchemy says to a MySQL; `tests/integration/databases` asks a MariaDB, where there is one."""

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from scoreline.export.destinations.sql import open_sql
from scoreline.tables.schema import Keys


def test_a_mysql_table_has_transactions_and_tells_upper_from_lower_case() -> None:
    pytest.importorskip("pymysql")
    destination = open_sql("mysql+pymysql://app:s3cret@db/app", "recommendations", Keys("string", "long"))
    ddl = str(CreateTable(destination.lists).compile(dialect=mysql.dialect()))
    assert "user_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" in ddl
    assert "`rank` INTEGER NOT NULL" in ddl  # a reserved word there
    assert "item_id BIGINT" in ddl
    assert "ENGINE=InnoDB" in ddl
    insert = str(sa.insert(destination.lists).compile(dialect=mysql.dialect()))
    assert "(user_id, `rank`, item_id, score, source)" in insert
    assert "s3cret" not in destination.address
