"""Throughput of the pipeline as a share of a vLLM server's own limit, at 8, 64, 512 and 2,048 requests in flight.

    .venv/bin/python benchmarks/gpu/run.py            (after `sh scripts/vllm-env.sh`)
    .venv/bin/python benchmarks/gpu/run.py --architecture llama-8b --gpus 1 --widths 8,64,512,2048

vLLM serves a model of a real architecture with random weights that it draws itself (`--load-format dummy`), so there is
nothing to download, and a token costs what it costs with the real model of that size. At each number in flight:

    limit    a bare HTTP client sends the requests of the asset `instructions` and ignores the answers
    ours     the asset for as many other personas, with at most as many requests in flight

Without a GPU the same runs with a tiny architecture on vLLM's CPU build, at 8 and 64: that checks the script, and says
nothing about a GPU. The clients are those of benchmarks/ceiling/run.py. Results go to benchmarks/results/gpu.json and
into docs/benchmarks.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "ceiling")]
import run as clients  # noqa: E402 - benchmarks/ceiling/run.py, which finds the other folders
from common import RESULTS, write  # noqa: E402
from vllm_server import VllmServer, has_gpu  # noqa: E402

_LLAMA = {"vocab_size": 4096, "rope_theta": 500_000.0, "tie_word_embeddings": False, "dtype": "bfloat16"}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    # The sizes of layers of published models. The vocabulary is that of the tiny tokenizer: a full one would add an
    # output matrix, 6 % of the work for a token of the model of 8 B.
    "tiny": {},
    "llama-1b": {
        **_LLAMA,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
    },
    "llama-8b": {
        **_LLAMA,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
}


def measured(url: str, widths: list[int], rows: int, per_width: int) -> list[dict[str, Any]]:
    """The limit and our share of it at each number in flight."""
    levels = []
    for place, width in enumerate(widths):
        count, first = max(rows, per_width * width), 1_000_000 * (place + 1)
        (limit,) = clients.ceiling(url, first, count, [width])
        ours = clients.ours(url, first + 500_000, count, width)
        share = ours["tokens_s"] / limit["tokens_s"]
        levels.append({"width": width, "rows": count, "limit": limit, "ours": ours, "share": share})
        print(f"share    {width} in flight: {share:.3f}", flush=True)
    return levels


def page(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        f"Run on {found['date']}: `.venv/bin/python benchmarks/gpu/run.py {found['arguments']}`".rstrip(" `") + "`.",
        f"Architecture `{found['architecture']}` on {found['device']}.",
        "",
        "| in flight | rows | the server's limit, tokens/s | ours, tokens/s | share | quarantined |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in found["levels"]:
        limit, ours = each["limit"], each["ours"]
        lost = sum(ours["reasons"].values())
        lines.append(
            f"| {each['width']:,} | {each['rows']:,} | {limit['tokens_s']:,.0f} | {ours['tokens_s']:,.0f} | "
            f"{each['share']:.3f} | {lost} |"
        )
    if not found["is_gpu"]:
        lines += ["", "**No GPU ran this**: the figures only show that the script works."]
    return "\n".join(lines)


def device() -> str:
    """The name of the first GPU, or of the CPU build."""
    if not has_gpu():
        return "vLLM's CPU build"
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()


def main() -> None:
    """Serve the model, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="llama-8b" if has_gpu() else "tiny")
    parser.add_argument("--widths", default="8,64,512,2048" if has_gpu() else "8,64")
    parser.add_argument("--rows", type=int, default=1_000 if has_gpu() else 128, help="fewest rows of a measurement")
    parser.add_argument("--per-width", type=int, default=8 if has_gpu() else 2, help="rows for each one in flight")
    parser.add_argument("--gpus", type=int, default=1, help="tensor parallel size")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    widths = [int(width) for width in chosen.widths.split(",")]
    RESULTS.mkdir(exist_ok=True)
    arguments = ["--load-format", "dummy", "--max-num-seqs", str(max(widths))]
    arguments += ["--tensor-parallel-size", str(chosen.gpus)] if has_gpu() else ["--enforce-eager"]
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        model = Path(folder) / "model"
        changes = json.dumps(ARCHITECTURES[chosen.architecture])
        subprocess.run([clients.PYTHON, ROOT / "tests" / "vllm" / "tiny_model.py", model, changes], check=True)
        log, config = RESULTS / "vllm.log", ROOT / "vllm" / "serve.yaml"
        with VllmServer(
            model, name=clients.MODEL, python=clients.PYTHON, log=log, config=config, args=arguments
        ) as server:
            clients.raw(server.url, [clients.body(number) for number in range(900_000, 900_064)], 32)  # warm
            levels = measured(server.url, widths, chosen.rows, chosen.per_width)
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "arguments": " ".join(sys.argv[1:]),
        "architecture": chosen.architecture,
        "device": device(),
        "is_gpu": has_gpu(),
        "levels": levels,
    }
    (RESULTS / "gpu.json").write_text(json.dumps(found, indent=2))
    if not chosen.no_docs:
        write(ROOT / "docs" / "benchmarks.md", "gpu", page(found))


if __name__ == "__main__":
    main()
