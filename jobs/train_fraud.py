"""Train the fraud model on a week, test it on another, log it to MLflow.

    spark-submit ... jobs/train_fraud.py --help

The options are those of `scoreline fraud-train`.
"""

import sys

from scoreline.cli.main import entry

if __name__ == "__main__":
    entry(["fraud-train", *sys.argv[1:]])
