"""Send what changed to the application's database.

    spark-submit ... jobs/export_recommendations.py --config conf/movies.yaml

The options are those of `scoreline export`.
"""

import sys

from scoreline.cli.main import entry

if __name__ == "__main__":
    entry(["export", *sys.argv[1:]])
