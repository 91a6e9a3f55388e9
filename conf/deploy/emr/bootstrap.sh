#!/bin/sh
# Run by EMR on every node before Spark starts: the environment that driver and workers use, from the built wheel.
# Usage: bootstrap.sh s3://bucket/scoreline/<version>
set -eu
artifacts=$1
scratch=$(mktemp -d)
aws s3 cp --recursive --exclude '*' --include 'scoreline-*.whl' --include constraints.txt "$artifacts/" "$scratch/"
sudo dnf install -y python3.11 python3.11-pip
sudo python3.11 -m venv /opt/scoreline
set -- "$scratch"/scoreline-*.whl
# without an extra: Spark and PySpark are EMR's own, which spark-submit puts on the path
sudo /opt/scoreline/bin/pip install --quiet --constraint "$scratch/constraints.txt" "$1" || {
  echo "the wheel could not be installed; see the bootstrap action's stderr" >&2
  exit 1
}
rm -rf "$scratch"
