"""Decide on a whole table of transactions with the model that is served.

    spark-submit ... jobs/score_transactions.py --help

The options are those of `scoreline fraud-score`.
"""

import sys

from scoreline.cli import entry

if __name__ == "__main__":
    entry(["fraud-score", *sys.argv[1:]])
