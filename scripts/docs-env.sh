#!/bin/sh
# Creates .venv-docs: an environment for mkdocs, which builds the documentation site. mkdocs reads the package as text
# and does not import it, so the project is not installed here. A complete environment has a stamp and is left as it is.
set -eu
cd "$(dirname "$0")/.."

env=.venv-docs
stamp=$env/ready
wanted=$(cksum <constraints-docs.txt)

if [ "$(cat $stamp 2>/dev/null)" = "$wanted" ] && $env/bin/python -c '' 2>/dev/null; then
    exit 0
fi

echo "creating $env" >&2
rm -rf $env
.venv/bin/uv venv --quiet --python .venv/bin/python $env
.venv/bin/uv pip install --quiet --python $env/bin/python --no-deps --require-hashes \
    --requirement constraints-docs.txt
printf '%s' "$wanted" >$stamp
