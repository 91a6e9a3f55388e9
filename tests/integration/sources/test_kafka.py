"""`ingest --new` of a topic, on a real broker: what is new, each once; what is lost, said."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from builders import NOW, context
from clusters.kafka import PASSWORD, Broker
from clusters.processes import maven_jars
from integration.races import just_before
from quick import QUICK
from scoreline.engine.jars import delta_jars
from scoreline.engine.session import existing_session, get_session
from scoreline.errors import InputError, RunFailed
from scoreline.ingest import ingest
from scoreline.ingest.ingest import IngestReport, ingest_events
from scoreline.ingest.new import ingest_new
from scoreline.redaction import redacted

# starts a server and a session of its own: `make clusters`
pytestmark = [pytest.mark.spark, pytest.mark.slow]

COLUMNS = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
T0 = 1_700_000_000
ANEW = "all of it was read: the topic was made anew, or has lost its newest messages"


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A session with Spark's source of Kafka."""
    if existing_session() is not None:
        pytest.skip("needs a session of its own, which no other test has begun")
    jars = tmp_path_factory.mktemp("jars")
    for jar in [*delta_jars(), *maven_jars("spark-kafka").glob("*.jar")]:
        shutil.copy(jar, jars)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCORELINE_JARS", str(jars))
        session = get_session("kafka", {**QUICK, "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse"))})
    yield session
    session.stop()


class Running:
    """A broker that a test may stop and start."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self._stack = broker, ExitStack()

    def start(self) -> None:
        self._stack.enter_context(self.broker.run())

    def stop(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(Broker.new(tmp_path_factory.mktemp("kafka") / "broker"))
    found.start()
    yield found
    found.stop()


class Topic:
    """A topic that messages are sent to, by the client for Java that the session has."""

    def __init__(self, spark: SparkSession, broker: Broker, name: str) -> None:
        self.name, self.broker, self._jvm = name, broker, spark._jvm
        self._kafka: Any = self._jvm.org.apache.kafka
        self._admin = self._kafka.clients.admin.AdminClient.create(self._properties({}))
        self.create()

    @property
    def address(self) -> str:
        return f"kafka://{self.broker.servers}/{self.name}"

    def _properties(self, more: dict[str, str]) -> Any:
        made = self._jvm.java.util.Properties()
        for key, value in {"bootstrap.servers": self.broker.servers, **more}.items():
            made.put(key, value)
        return made

    def _one(self, thing: Any) -> Any:
        return self._jvm.java.util.Collections.singletonList(thing)

    def create(self, partitions: int = 2) -> None:
        one = self._jvm.java.util.Optional
        made = self._kafka.clients.admin.NewTopic(self.name, one.of(partitions), one.empty())
        self._admin.createTopics(self._one(made)).all().get()

    def remove(self) -> None:
        self._admin.deleteTopics(self._one(self.name)).all().get()
        while self.name in set(self._admin.listTopics().names().get()):
            time.sleep(0.1)

    def partitions(self, number: int) -> None:
        more = self._kafka.clients.admin.NewPartitions.increaseTo(number)
        self._admin.createPartitions(self._jvm.java.util.Collections.singletonMap(self.name, more)).all().get()

    def forget(self, partition: int, before: int) -> None:
        """Remove messages, as retention does."""
        at = self._kafka.common.TopicPartition(self.name, partition)
        # by reflection: py4j takes the method for the getter of the same name
        loader = self._jvm.java.lang.Thread.currentThread().getContextClassLoader()
        deleted = loader.loadClass("org.apache.kafka.clients.admin.RecordsToDelete")
        made = next(m for m in deleted.getMethods() if m.getName() == "beforeOffset" and m.getParameterCount() == 1)
        values = self._jvm.java.util.ArrayList()
        values.add(before)
        offset = made.invoke(None, values.toArray())
        self._admin.deleteRecords(self._jvm.java.util.Collections.singletonMap(at, offset)).all().get()

    def send(self, *messages: str | None, partition: int = 0, commit: bool | None = None) -> None:
        """`commit`: in a transaction, that is committed or aborted."""
        text = "org.apache.kafka.common.serialization.StringSerializer"
        given = {"key.serializer": text, "value.serializer": text}
        if commit is not None:
            given["transactional.id"] = "test"
        producer = self._kafka.clients.producer.KafkaProducer(self._properties(given))
        if commit is not None:
            producer.initTransactions()
            producer.beginTransaction()
        for message in messages:
            producer.send(self._kafka.clients.producer.ProducerRecord(self.name, partition, None, message)).get()
        if commit is not None:
            (producer.commitTransaction if commit else producer.abortTransaction)()
        producer.close()


@pytest.fixture
def topic(spark: SparkSession, running: Running, request: pytest.FixtureRequest) -> Topic:
    return Topic(spark, running.broker, request.node.name[:60])


def event(number: int, **more: Any) -> str:
    return json.dumps({"user": number % 10, "item": number, "rating": 3.5, "at": T0 + number, **more})


class Tables:
    """The tables that a topic's events go to."""

    def __init__(self, spark: SparkSession, root: Path, topic: Topic) -> None:
        self._spark, self._root, self._topic, self._hours = spark, root, topic, 0

    def context(self, source: str | None = None, **events: Any) -> Any:
        self._hours += 1
        given = {"columns": COLUMNS, "format": "json", "source": source or self._topic.address, "max_bad_share": 0.9}
        now = NOW + timedelta(hours=self._hours)
        return context(self._spark, self._root, now=now, engine="spark", events=given | events)

    def ingest(self, **events: Any) -> IngestReport:
        found = ingest_new(self.context(**events))
        assert isinstance(found, IngestReport)
        return found

    def rows(self) -> tuple[list[Any], list[Any]]:
        return rows(self.context())


def rows(made: Any) -> tuple[list[Any], list[Any]]:
    """Both tables, but for what says when and from where."""
    histories = made.tables.table("user_history").read().drop("updated_at", "added_at", "since_first_us")
    quarantine = made.tables.table("quarantine")
    bad = quarantine.read().select("reasons", "raw_row").collect() if quarantine.exists() else []
    return sorted(map(str, histories.collect())), sorted((row["raw_row"], *row["reasons"]) for row in bad)


@pytest.fixture
def tables(spark: SparkSession, tmp_path: Path, topic: Topic) -> Tables:
    return Tables(spark, tmp_path / "tables", topic)


def of_file(spark: SparkSession, folder: Path, *messages: str) -> tuple[list[Any], list[Any]]:
    """The tables of the same messages as the lines of a file."""
    (folder / "events.jsonl").write_text("\n".join(messages) + "\n", encoding="utf-8")
    made = context(
        spark, folder / "whole", engine="spark", events={"columns": COLUMNS, "format": "json", "max_bad_share": 0.9}
    )
    ingest_events(made, str(folder / "events.jsonl"))
    return rows(made)


ODD = (
    "no json",
    '{"user": 1, "item": ',
    '{"user": 1, "item": 2, "rating": 99, "at": 1700000000}',
    '{"user": "x1", "item": 2, "rating": 1, "at": 1700000000}',
    '{"user": 1, "item": 2, "rating": 1, "at": "yesterday"}',
    "{'user': 1, 'item': 77, 'rating': \"4\", 'at': 1700000000}",
    '{"user": 1, "item": 79, "rating": 4, "at": 1700000000} and more',
    '{"user": null, "item": 80, "rating": 4, "at": 1700000000}',
    '{"rating": 4, "item": "\\ud83c\\udfac café", "user": 1, "at": 1700000000}',
)


def test_each_message_is_read_once_and_the_tables_are_those_of_a_file(
    spark: SparkSession, topic: Topic, tables: Tables, tmp_path: Path
) -> None:
    first, second, third, fourth = ([event(n) for n in range(at, at + 20)] for at in (0, 20, 40, 60))
    topic.send(*first)
    topic.send(*ODD, *second, partition=1)
    report = tables.ingest()
    assert (report.rows_read, report.rows_read - report.rows_bad, report.remarks) == (49, report.rows_good, ())
    assert tables.rows() == of_file(spark, tmp_path, *first, *second, *ODD)
    nothing = tables.ingest()
    assert (nothing.rows_read, nothing.users_changed, nothing.version) == (0, 0, report.version)
    topic.send(*third)
    topic.send(event(9999), partition=1, commit=False)  # no event, as its transaction was aborted
    topic.send(*fourth[:10], partition=1, commit=True)
    topic.partitions(4)
    topic.send(*fourth[10:], partition=3)
    report = tables.ingest()
    assert (report.rows_read, report.rows_bad, report.remarks) == (40, 0, ())
    assert tables.rows() == of_file(spark, tmp_path, *first, *second, *third, *fourth, *ODD)
    assert tables.ingest().rows_read == 0


def test_a_message_of_other_things_is_quarantined_whole(spark: SparkSession, topic: Topic, tables: Tables) -> None:
    nested = ['{"user": 1, "item": [2], "rating": 1, "at": 1}', '{"user": {"id": 1}, "item": 2, "rating": 1, "at": 1}']
    others = ["[" + event(1) + "]", "17", "", None, event(1)]
    topic.send(*nested, *others)
    report = tables.ingest()
    assert (report.rows_read, report.rows_good, report.reasons) == (7, 1, {"malformed line": 6})
    expected = {*nested, *(other or "" for other in others[:-1])}  # equal ones once
    assert tables.rows()[1] == sorted((raw, "malformed line") for raw in expected)


def test_whoever_is_killed_between_merge_and_mark_changes_nothing_by_the_next_reading(
    topic: Topic, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.send(*map(event, range(5)))
    made = tables.context()
    just_before(monkeypatch, type(made.tables.table("user_history")), "set_property", killed)
    with pytest.raises(RunFailed):
        ingest_new(made)
    monkeypatch.undo()
    before = tables.rows()
    report = tables.ingest()
    assert (report.rows_read, report.users_changed, tables.rows()) == (5, 0, before)
    assert tables.ingest().rows_read == 0


def killed() -> None:
    raise RunFailed("killed")


def test_messages_that_retention_has_removed_are_counted(topic: Topic, tables: Tables) -> None:
    topic.send(*map(event, range(5)))
    topic.forget(0, before=2)
    assert (first := tables.ingest()).rows_read == 3  # what was before the first time is nobody's loss
    assert first.remarks == ()
    topic.send(*map(event, range(5, 15)))
    topic.forget(0, before=12)
    report = tables.ingest()
    assert (report.rows_read, report.users_changed) == (3, 3)
    assert "7 messages are lost: the topic did not keep them until they were read (by their offsets)" in str(report)
    assert tables.ingest().remarks == ()


def test_a_topic_made_anew_is_read_whole_and_that_is_said(topic: Topic, tables: Tables) -> None:
    topic.send(*map(event, range(3)))
    tables.ingest()
    topic.remove()
    topic.create()
    topic.send(*map(event, range(100, 120)))  # more than there were: only its id tells
    report = tables.ingest()
    assert (report.rows_read, report.users_changed, report.remarks) == (20, 10, (ANEW,))
    assert tables.ingest().rows_read == 0


def test_a_topic_that_is_not_there(topic: Topic, tables: Tables) -> None:
    message = r"/films: there is no such topic, or it may not be seen\. There are: .*test_a_topic_that_is_not_there"
    with pytest.raises(InputError, match=message):
        tables.ingest(source=topic.address.rpartition("/")[0] + "/films")


def test_a_password_opens_the_topic_and_is_never_shown(topic: Topic, tables: Tables, running: Running) -> None:
    topic.send(event(1))
    address, options = f"kafka://{running.broker.guarded}/{topic.name}", running.broker.credentials
    wrong = options | {"sasl.jaas.config": options["sasl.jaas.config"].replace(PASSWORD, "other4Kafka")}
    with pytest.raises(InputError, match=r"could not be read: .*uthentication failed") as raised:
        tables.ingest(source=address, kafka=wrong)
    assert "other4Kafka" not in str(raised.value)
    made = tables.context(source=address, kafka=options)
    assert PASSWORD not in repr(made.settings) + redacted(str(options))
    assert PASSWORD not in str(ingest_new(made))
    assert tables.ingest().rows_read == 0  # the same cluster by another address


def test_a_broker_that_is_away_is_told_soon_and_once_back_is_read_on(
    topic: Topic, tables: Tables, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic.send(event(1))
    tables.ingest()
    topic.send(event(2))
    running.stop()
    began = time.monotonic()
    with pytest.raises(InputError, match=f"^{topic.address} could not be read: .*imed out"):
        tables.ingest()
    assert time.monotonic() - began < 60
    running.start()
    just_before(monkeypatch, ingest, "checked_events", running.stop)  # it was there when it was looked at
    began = time.monotonic()
    with pytest.raises(RunFailed, match=f"^{topic.address} could not be ingested: .*imed out"):
        tables.ingest()
    assert time.monotonic() - began < 120
    running.start()
    report = tables.ingest()
    assert (report.rows_read, report.users_changed, report.remarks) == (1, 1, ())
