"""Train, evaluate, register and promote a model.

    spark-submit ... jobs/train_model.py --config conf/movies.yaml

The options are those of `scoreline train`.
"""

import sys

from scoreline.cli.main import entry

if __name__ == "__main__":
    entry(["train", *sys.argv[1:]])
