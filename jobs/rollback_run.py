"""Bring the table back to an earlier run.

    spark-submit ... jobs/rollback_run.py --config conf/movies.yaml

The options are those of `scoreline rollback`.
"""

import sys

from scoreline.cli.main import entry

if __name__ == "__main__":
    entry(["rollback", *sys.argv[1:]])
