"""Point the model's alias at a version.

    spark-submit ... jobs/promote_model.py --config conf/movies.yaml

The options are those of `scoreline promote`.
"""

import sys

from scoreline.cli.main import entry

if __name__ == "__main__":
    entry(["promote", *sys.argv[1:]])
