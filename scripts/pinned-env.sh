#!/bin/sh
# Creates .venv-NAME with what constraints-NAME.txt pins, for tools that the project must work without:
#     sh scripts/pinned-env.sh cluster     the project itself with its extra [cluster], for make test-cluster
#     sh scripts/pinned-env.sh datasets    the `datasets` library, with which the tests load a release; it brings pyarrow
#     sh scripts/pinned-env.sh duckdb2     the next major version of DuckDB, put before the pinned one by make test-duckdb
#     sh scripts/pinned-env.sh docs        mkdocs, which reads the package as text and does not import it
# A complete environment has a stamp and is left as it is.
set -eu
cd "$(dirname "$0")/.."

env=.venv-$1
lists=constraints-$1.txt
if [ "$1" = cluster ]; then
    lists="constraints.txt $lists"
fi
stamp=$env/ready
wanted=$(cat $lists | cksum)

if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && "$env/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

echo "creating $env" >&2
rm -rf "$env"
.venv/bin/uv venv --quiet --python .venv/bin/python "$env"
for list in $lists; do
    .venv/bin/uv pip install --quiet --python "$env/bin/python" --no-deps --require-hashes --requirement "$list"
done
if [ "$1" = cluster ]; then
    # Without an index, as in make install: a missing dependency is an error.
    .venv/bin/uv pip install --quiet --python "$env/bin/python" --no-index --no-build-isolation --editable '.[cluster]'
fi
printf '%s' "$wanted" >"$stamp"
