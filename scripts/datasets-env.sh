#!/bin/sh
# Creates .venv-datasets: an environment of its own for the `datasets` library, with which the tests load a release. It
# brings pyarrow, and the project must be seen to work without. A finished one carries a stamp and is left alone.
set -eu
cd "$(dirname "$0")/.."

env=.venv-datasets
stamp=$env/ready
wanted=$(cksum <constraints-datasets.txt)

if [ "$(cat $stamp 2>/dev/null)" = "$wanted" ] && $env/bin/python -c '' 2>/dev/null; then
    exit 0
fi

echo "creating $env" >&2
rm -rf $env
.venv/bin/uv venv --quiet --python .venv/bin/python $env
.venv/bin/uv pip install --quiet --python $env/bin/python --no-deps --require-hashes \
    --requirement constraints-datasets.txt
printf '%s' "$wanted" >$stamp
