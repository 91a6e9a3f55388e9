"""A configuration from the first rows of files: what is seen is written, what is not is asked, nothing is guessed."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from scoreline.cli.main import main
from scoreline.config.loading import load_settings
from scoreline.config.settings import Settings
from scoreline.errors import ScorelineError

EVENTS = "userId,movieId,rating,timestamp\n1,20,3.5,1700000000\n2,30,0.5,1700000001\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def init(*arguments: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(main, ["init", *arguments], input=answers)


def written(name: str, *arguments: str) -> Settings:
    done = init("--name", name, *arguments)
    assert done.exception is None, done.exception
    return load_settings(Path("conf") / f"{name}.yaml")


def test_a_ratings_file_and_titles() -> None:
    Path("ratings.csv").write_text(EVENTS)
    Path("movies.csv").write_text('movieId,title,genres\n20,"A, B",Drama\n')
    made = written("films", "--events", "ratings.csv", "--items", "movies.csv")
    assert made.events.columns.model_dump() == {
        "user_id": "userId", "item_id": "movieId", "time": "timestamp", "weight": "rating", "kind": None,
    }  # fmt: skip
    assert (made.events.time, made.keys.user_id, made.keys.item_id) == ("epoch_seconds", "long", "long")
    assert made.items is not None
    assert (made.items.item_id, made.items.title, made.items.genres) == ("movieId", "title", "genres")
    assert (made.model.uri, made.tables.root) == ("models:/films@champion", "data/films")
    assert (
        "# weight_range: [0.5, 3.5]  # seen in the first 2 rows of ratings.csv" in Path("conf/films.yaml").read_text()
    )


def test_the_engine_is_named_where_only_one_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ratings.csv").write_text(EVENTS)
    assert "engine" not in written("both", "--events", "ratings.csv").model_fields_set
    monkeypatch.setattr("scoreline.cli.init.has_classic_spark", lambda: False)
    assert written("films", "--events", "ratings.csv").engine == "embedded"


@pytest.mark.parametrize(
    ("text", "format_", "separator", "time", "keys"),
    [
        ("customer;sku;date\n007;a;2026-01-02\n", "csv", ";", "iso", ("string", "string")),
        ("user\titem\tat\n1\t2\t1700000000000\n", "csv", "\t", "epoch_millis", ("long", "long")),
        ('{"user": 1, "item": "x", "at": "2026-01-02T10:00:00Z"}\n', "json", ",", "iso", ("long", "string")),
        ('[{"user": 17, "item": 4, "at": 1700000000}]', "json", ",", "epoch_seconds", ("long", "long")),
        ("user,item,at\n17001.0,4,1700000000\n", "csv", ",", "epoch_seconds", ("long", "long")),
    ],
)
def test_formats_separators_times_and_kinds_of_ids(
    text: str, format_: str, separator: str, time: str, keys: tuple[str, str]
) -> None:
    Path("events.txt").write_text(text)
    made = written("own", "--events", "events.txt")
    assert (made.events.format, made.events.separator, made.events.time) == (format_, separator, time)
    assert (made.keys.user_id, made.keys.item_id) == keys


def test_each_column_can_be_said_by_the_option_that_the_message_names() -> None:
    Path("sales.csv").write_text("Who,What,When,Qty\n1,2,1700000000,3\n")
    Path("products.csv").write_text("Code,Product name,Brand\n2,Tea,X\n")
    given = ["--user", "Who", "--item", "What", "--time", "When", "--weight", "Qty"]
    done = init("--events", "sales.csv", "--items", "products.csv", *given)
    assert "Say which: --items-item COLUMN" in str(done.exception)
    done = init("--events", "sales.csv", "--items", "products.csv", *given, "--items-item", "Code")
    assert "Say which: --title COLUMN" in str(done.exception)
    titles = ["--items-item", "Code", "--title", "Product name"]
    made = written("shop", "--events", "sales.csv", "--items", "products.csv", *given, *titles)
    assert (made.events.columns.weight, made.items and made.items.title) == ("Qty", "Product name")


def test_what_somebody_may_want_otherwise_is_said() -> None:
    rows = "".join(f"{user},{user},1700000000,4\n" for user in [*range(1, 40), "abc"])
    Path("sales.csv").write_text(f"user,item,at,Qty\n{rows}")
    done = init("--events", "sales.csv", "--name", "shop")
    assert "user_id is string because of 'abc'" in done.output
    assert "Not used: Qty (what an event counts: --weight COLUMN)." in done.output


def test_parquet_with_names_that_yaml_would_misread() -> None:
    rows = {"No": pa.array([1, 2]), "product id": pa.array(["a", "b"]), "date": pa.array([0, 1], pa.timestamp("us"))}
    pq.write_table(pa.table(rows), "events.parquet")
    made = written("own", "--events", "events.parquet", "--user", "No")
    assert (made.events.format, made.events.time, made.keys.item_id) == ("parquet", "iso", "string")
    assert (made.events.columns.user_id, made.events.columns.item_id) == ("No", "product id")


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (
            "who,item,at\na,b,1700000000\n",
            [],
            r"no column is called like the user_id; it has who, item, at\. .*--user COLUMN",
        ),
        ("user,customer,item,at\na,b,c,1700000000\n", [], "columns user and customer may be the user_id"),
        ("user,item,at\na,b,01.02.2026\n", [], "'01.02.2026' in column at is no time .* --time-format"),
        ("user,item,at\na,b,1700000000\n", ["--user", "x"], "has no column x; it has user, item, at"),
        ("a line\n", [], r"its first line has 1 column\(s\)"),
        ("user,item,at\nM\xfcller,b,1\n", [], "not in the encoding UTF-8, but perhaps in windows-1252"),
    ],
)
def test_what_cannot_be_seen_is_said(text: str, arguments: list[str], message: str) -> None:
    Path("events.csv").write_bytes(text.encode("latin-1"))
    done = init("--events", "events.csv", *arguments)
    with pytest.raises(Exception, match=message):
        raise done.exception or AssertionError(done.output)
    assert not Path("conf").exists()


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b'{"user": 1, "item": 2, "at": 3}\n{"user": 1,\n', [], "events: line 2 is no JSON"),
        (b"PAR1 and nothing else", [], "events could not be read as Parquet"),
        (EVENTS.encode(), ["--encoding", "utf-99"], "utf-99"),
        (EVENTS.encode(), ["--time-format", "HH:mm"], "events.time: "),
        (EVENTS.encode(), ["--name", "a b/c"], "name: "),
    ],
)
def test_what_would_be_no_configuration_is_not_written(content: bytes, arguments: list[str], message: str) -> None:
    Path("events").write_bytes(content)
    done = init("--events", "events", "--output", "mine.yaml", *arguments)
    assert isinstance(done.exception, ScorelineError), done.exception
    assert message in str(done.exception)
    assert not Path("mine.yaml").exists()


def test_a_file_that_is_there_is_left() -> None:
    Path("events.csv").write_text(EVENTS)
    Path("mine.yaml").write_text("mine")
    done = init("--events", "events.csv", "--output", "mine.yaml")
    assert "mine.yaml is there already" in str(done.exception)
    assert Path("mine.yaml").read_text() == "mine"


def test_three_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scoreline.cli.beginning._is_terminal", lambda: True)
    Path("ratings.csv").write_text(EVENTS)
    done = init(answers="ratings.csv\nfilms\n\n")
    assert done.exception is None
    assert load_settings("conf/films.yaml").tables.root == "data/films"
    Path("shop.csv").write_text("who,sku,when\n1,2,01.02.2026\n")
    done = init(answers="shop.csv\nshop\ntables\nwho\nwhen\ndd.MM.yyyy\n")
    assert done.exception is None
    made = load_settings("conf/shop.yaml")
    assert (made.events.columns.user_id, made.events.columns.time, made.events.time) == ("who", "when", "dd.MM.yyyy")


def test_help_groups_the_commands_and_leaves_none_out() -> None:
    lines = CliRunner().invoke(main, ["--help"]).output
    assert [title for title in ("Begin:", "By night:", "In the morning:") if title not in lines] == []
    assert [name for name in main.list_commands(None) if f"\n  {name} " not in lines] == []  # type: ignore[arg-type]
