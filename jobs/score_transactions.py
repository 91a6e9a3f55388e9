"""Decide on a day of transactions with the model that is served: their features are joined, then the pipeline runs.

    spark-submit ... jobs/score_transactions.py --config conf/fraud.yaml --help

The options are those of `scoreline fraud-score`.
"""

import sys

from scoreline.cli.main import entry
from scoreline_fraud.cli import fraud_score

if __name__ == "__main__":
    entry(sys.argv[1:], fraud_score)
