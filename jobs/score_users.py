"""Score the users that are due and publish the result.

    spark-submit ... jobs/score_users.py --config conf/movies.yaml

The options are those of `scoreline run`.
"""

import sys

from scoreline.cli.main import entry

if __name__ == "__main__":
    entry(["run", *sys.argv[1:]])
