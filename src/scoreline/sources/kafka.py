"""A topic of Kafka: from the offsets where the last ingest ended to those where the topic ends when this one begins.

Spark's own source reads. The mark has the id that Kafka gave the topic, which another topic of the same name has not,
and of each partition the offset of the next message. Of transactions only what was committed is read.
https://spark.apache.org/docs/latest/streaming/structured-streaming-kafka-integration.html
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.filesystem import is_remote
from scoreline.engine.thrown import engine_errors
from scoreline.errors import ConfigurationError, InputError, told
from scoreline.hashing import fingerprint
from scoreline.tables.names import MALFORMED, SOURCE

_ADDRESS = re.compile(r"kafka://(?P<servers>[^/@?,]+:\d+(?:,[^/@?,]+:\d+)*)/(?P<topic>[\w.-]+)", re.ASCII)
# Kafka's clients would try for minutes
_PATIENCE = {"request.timeout.ms": "10000", "default.api.timeout.ms": "20000"}
_POLL_MS = "60000"
_SHOWN = 8  # topics in a message
_TEXT = T.StringType()


@dataclass(frozen=True)
class Offsets:
    """A topic as it was when it was looked at; of each partition the first message there is, and where it ends."""

    key: str
    topic_id: str
    first: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def mark(self) -> str:
        return f"{self.topic_id}:{','.join(map(str, self.end))}"

    def begin(self, since: str | None) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Where reading begins after the mark `since`, and what people have to know of it.

        >>> Offsets("", "id", (4, 0), (9, 5)).begin("id:3")
        ((4, 0), ('1 messages are lost: the topic did not keep them until they were read (by their offsets)',))
        >>> Offsets("", "other", (0,), (9,)).begin("id:3")
        ((0,), ('all of it was read: the topic was made anew, or has lost its newest messages',))
        """
        if since is None:
            return self.first, ()
        before, _, offsets = since.partition(":")
        read = [int(offset) for offset in offsets.split(",")]
        added = len(self.end) - len(read)
        if before != self.topic_id or added < 0 or any(r > e for r, e in zip(read, self.end, strict=False)):
            return self.first, ("all of it was read: the topic was made anew, or has lost its newest messages",)
        read += [0] * added
        gone = sum(max(first - r, 0) for r, first in zip(read, self.first, strict=True))
        lost = f"{gone:,} messages are lost: the topic did not keep them until they were read (by their offsets)"
        return tuple(map(max, read, self.first)), (lost,) if gone else ()


@dataclass(frozen=True)
class KafkaTopic:
    """A topic by its address, and the options of Kafka's clients."""

    servers: str
    name: str
    options: Mapping[str, str] = field(repr=False)  # with passwords

    @classmethod
    def at(cls, address: str, options: Mapping[str, str]) -> "KafkaTopic":
        """Raises InputError for an address that is none; the message does not show it, as it may hold a password."""
        if (found := _ADDRESS.fullmatch(address)) is None:
            raise InputError(
                "Expected a topic as kafka://HOST:PORT,HOST:PORT/TOPIC, found something else behind kafka:// (not "
                "shown). Users and passwords go into events.kafka."
            )
        return cls(found["servers"], found["topic"], {**_PATIENCE, **options, "bootstrap.servers": found["servers"]})

    @property
    def shown(self) -> str:
        return f"kafka://{self.servers}/{self.name}"

    def look(self, spark: SparkSession) -> Offsets:
        """The topic as it is now. Raises InputError if that cannot be told, ConfigurationError without the package."""
        if is_remote(spark):
            raise InputError(
                f"{self.shown} is asked for its offsets by Kafka's client for Java, which Spark Connect does not lend. "
                "Ingest where the session's driver is."
            )
        jvm: Any = spark._jvm
        client = jvm.org.apache.kafka.clients.admin
        if type(client.AdminClient).__name__ == "JavaPackage":  # py4j's word for a class that is not there
            scala = jvm.scala.util.Properties.versionNumberString().rpartition(".")[0]
            package = f"org.apache.spark:spark-sql-kafka-0-10_{scala}:{spark.version}"
            raise ConfigurationError(
                f"{self.shown} could not be read: Spark's source of Kafka is not here. Say spark: "
                f"{{spark.jars.packages: {package}}} in the configuration."
            )
        given = jvm.java.util.Properties()
        for key, value in self.options.items():
            given.put(key, value)
        try:
            admin = client.AdminClient.create(given)
            try:
                return self._looked_at(jvm, admin)
            finally:
                admin.close(jvm.java.time.Duration.ofSeconds(1))
        except engine_errors() as error:
            raise InputError(f"{self.shown} could not be read: {told(error)}") from None

    def _looked_at(self, jvm: Any, admin: Any) -> Offsets:
        client, common = jvm.org.apache.kafka.clients.admin, jvm.org.apache.kafka.common
        if self.name not in (there := set(admin.listTopics().names().get())):
            hint = f" There are: {', '.join(sorted(there)[:_SHOWN])}." if there else ""
            raise InputError(f"{self.shown}: there is no such topic, or it may not be seen.{hint}")
        cluster = admin.describeCluster().clusterId().get()
        one = jvm.java.util.Collections.singletonList(self.name)
        topic = admin.describeTopics(one).allTopicNames().get().get(self.name)
        partitions = [common.TopicPartition(self.name, at) for at in range(topic.partitions().size())]
        committed = client.ListOffsetsOptions(common.IsolationLevel.READ_COMMITTED)

        def offsets(which: Any) -> tuple[int, ...]:
            asked = jvm.java.util.HashMap()
            for partition in partitions:
                asked.put(partition, which)
            found = admin.listOffsets(asked, committed).all().get()
            return tuple(int(found.get(partition).offset()) for partition in partitions)

        key = f"scoreline.mark.{fingerprint(['kafka', cluster, self.name])}"
        first, end = offsets(client.OffsetSpec.earliest()), offsets(client.OffsetSpec.latest())
        return Offsets(key, topic.topicId().toString(), first, end)

    def read(
        self, spark: SparkSession, begin: Sequence[int], end: Sequence[int], wanted: Sequence[str]
    ) -> DataFrame | None:
        """The messages of these offsets, the end not among them: `wanted` as text, MALFORMED, SOURCE.

        None if there are none. They are read when the rows are asked for, and fail if some are gone by then.
        """
        parts = {str(at): (b, e) for at, (b, e) in enumerate(zip(begin, end, strict=True)) if b < e}
        if not parts:
            return None
        options = {
            **{f"kafka.{key}": value for key, value in self.options.items()},
            "kafka.isolation.level": "read_committed",
            "kafkaConsumer.pollTimeoutMs": _POLL_MS,
            "assign": json.dumps({self.name: [int(at) for at in parts]}),
            "startingOffsets": json.dumps({self.name: {at: b for at, (b, _) in parts.items()}}),
            "endingOffsets": json.dumps({self.name: {at: e for at, (_, e) in parts.items()}}),
            "failOnDataLoss": "true",
        }
        messages = spark.read.format("kafka").options(**options).load()
        return objects(messages.select(F.col("value").cast("string")), wanted).withColumn(SOURCE, F.lit(self.shown))


def objects(messages: DataFrame, wanted: Sequence[str]) -> DataFrame:
    """Of the column `value`, a JSON object each, the wanted members as text; MALFORMED: a message that is none.

    And one that has a list or an object where an id, a number or a time is wanted: no source can be refused for it.
    """
    text, names = F.col("value"), sorted(set(wanted))
    found = _parsed(dict.fromkeys((*names, MALFORMED), _TEXT))
    nested = [
        F.coalesce(found[name].rlike(r"^[\[{]") & _parsed({name: kind})[name].isNotNull(), F.lit(False))
        for name in names
        for kind in (T.ArrayType(_TEXT), T.MapType(_TEXT, _TEXT))
    ]
    is_nested = reduce(Column.__or__, nested)
    whole = F.coalesce(text, F.lit(""))  # a message may have no value
    malformed = F.when(found.isNull() | is_nested, whole).otherwise(found[MALFORMED])
    return messages.select(*[found[name].alias(name) for name in names], malformed.alias(MALFORMED))


def _parsed(members: Mapping[str, T.DataType]) -> Column:
    kinds = T.StructType([T.StructField(name, kind) for name, kind in members.items()])
    return F.from_json("value", kinds, {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": MALFORMED})
