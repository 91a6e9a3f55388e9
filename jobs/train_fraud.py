"""Train the fraud model on a week, test it on another, log it to MLflow.

    spark-submit ... jobs/train_fraud.py --help

The options are those of `scoreline fraud-train`.
"""

import sys

from scoreline.cli.main import entry
from scoreline_fraud.cli import fraud_train

if __name__ == "__main__":
    entry(sys.argv[1:], fraud_train)
