"""Merge new events into user_history.

    spark-submit ... jobs/ingest_events.py --config conf/movies.yaml

The options are those of `scoreline ingest`.
"""

import sys

from scoreline.cli.main import entry

if __name__ == "__main__":
    entry(["ingest", *sys.argv[1:]])
