"""Tonight's card and terminal features and the snapshot that the server reads.

    spark-submit ... jobs/build_card_features.py --help

The options are those of `scoreline fraud-features`.
"""

import sys

from scoreline.cli.main import entry
from scoreline_fraud.cli import fraud_features

if __name__ == "__main__":
    entry(sys.argv[1:], fraud_features)
