"""Which rows a read asks for, as text; tests/integration/databases asks a real server."""

from scoreline.sources.postgres import Position, PostgresTable, _news, _parts

HERE = Position(relation=16_400, mark=5_000_000_000, following=5_000_000_010, pages=10_000)


def test_the_first_read_takes_everything() -> None:
    assert _news(HERE, None) is None


def test_a_later_read_begins_at_the_mark() -> None:
    assert _news(HERE, "16400:4999999000") == "age(xmin) <= age('705031704'::xid)"  # modulo 2^32


def test_what_cannot_be_compared_is_read_whole() -> None:
    assert _news(HERE, "16399:4999999000") is None  # another table of this name
    assert _news(HERE, "16400:5000000011") is None  # a restored server: its transactions begin anew
    assert _news(HERE, "16400:2000000000") is None  # so long ago that 32 bits do not tell


def test_parts_are_even_and_cover_every_page() -> None:
    assert _parts(10_000, 4) == [
        "ctid < '(2500,0)'::tid",
        "ctid >= '(2500,0)'::tid AND ctid < '(5000,0)'::tid",
        "ctid >= '(5000,0)'::tid AND ctid < '(7500,0)'::tid",
        "ctid >= '(7500,0)'::tid",  # open: what is appended meanwhile belongs to somebody
    ]
    assert _parts(999, 8) == _parts(0, 8) == ["ctid >= '(0,0)'::tid"]


def test_the_password_is_in_no_name() -> None:
    table = PostgresTable.at("postgresql://reader:s3cret@db:5433/app?sslmode=require", 'public.odd"name')
    assert "s3cret" not in f"{table.shown} {table.key} {table._jdbc} {table!r}"
    assert table._jdbc == "jdbc:postgresql://db:5433/app?sslmode=require"
    assert table.quoted == '"public"."odd""name"'
    assert table.key == PostgresTable.at("postgresql://other:pw@db:5433/app", 'public.odd"name').key
