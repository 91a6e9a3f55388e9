"""A driver of its own that commits to one table again and again, as another one does at the same time.

    python two_hosts.py TABLE COMMITS HOST [SPARK_SETTING=VALUE ...]

Prints how many of its commits Delta called done.
"""

import sys

from clusters.project import QUICK
from scoreline.engine.session import get_session


def main(table: str, commits: int, host: int, settings: list[str]) -> int:
    spark = get_session(f"host {host}", {**QUICK, **dict(entry.split("=", maxsplit=1) for entry in settings)})
    done = 0
    for number in range(commits):
        rows = spark.createDataFrame([(host, number)], "host long, number long")
        try:
            rows.coalesce(1).write.format("delta").mode("append").save(table)
            done += 1
        except Exception as error:  # an honest refusal loses nothing
            print(str(error).splitlines()[0], file=sys.stderr)
    spark.stop()
    return done


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
