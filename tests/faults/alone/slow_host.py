"""Another host whose commits take long to be seen: a first ingest into tables on failing:///.

python slow_host.py CLASSES TABLES EVENTS MILLISECONDS
"""

import sys

from builders import NOW, context
from faults.alone.sessions import on_failing_storage
from scoreline.ingest.ingest import ingest_events

if __name__ == "__main__":
    classes, tables, events, milliseconds = sys.argv[1:]
    spark = on_failing_storage(classes, slow=int(milliseconds))
    ingest_events(context(spark, tables, now=NOW, name="slow"), events)
    spark.stop()
