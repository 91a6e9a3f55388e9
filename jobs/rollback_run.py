"""Bring the table back to an earlier run: spark-submit jobs/rollback_run.py --config conf/movies.yaml ...; options as in `scoreline rollback`."""

import sys

from scoreline.cli import entry

if __name__ == "__main__":
    entry(["rollback", *sys.argv[1:]])
