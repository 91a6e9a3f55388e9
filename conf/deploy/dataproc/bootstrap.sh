#!/bin/sh
# An initialization action: run by Dataproc on every node before Spark starts. It takes the files that lie beside it.
set -eu
script=$(/usr/share/google/get_metadata_value attributes/dataproc-initialization-script-0)
artifacts=${script%/dataproc-bootstrap.sh}
scratch=$(mktemp -d)
gcloud storage cp "$artifacts/scoreline-*.whl" "$artifacts/constraints.txt" "$scratch/"
python3.11 -m venv /opt/scoreline
set -- "$scratch"/scoreline-*.whl
/opt/scoreline/bin/pip install --quiet --constraint "$scratch/constraints.txt" "$1"
rm -rf "$scratch"
