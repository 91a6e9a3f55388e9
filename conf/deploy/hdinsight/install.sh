#!/bin/sh
# A script action for head and worker nodes, persisted: the environment that driver and workers use.
# Usage: install.sh https://account.blob.core.windows.net/container/scoreline/<version>?<SAS>
set -eu
base=${1%%\?*}
query=${1#"$base"}
scratch=$(mktemp -d)
cd "$scratch"
wheel=scoreline-${base##*/}-py3-none-any.whl
curl -fsS -o "$wheel" "$base/$wheel$query"
curl -fsS -o constraints.txt "$base/constraints.txt$query"
/usr/bin/anaconda/bin/conda create --yes --quiet --prefix /opt/scoreline python=3.11
/opt/scoreline/bin/pip install --quiet --constraint constraints.txt "./$wheel"
rm -rf "$scratch"
