"""Speed and memory of reading documents from web archives.

    .venv/bin/python benchmarks/archives/run.py            about four minutes; writes into docs/web-archives.md

The archives are generated .warc.gz files of 20 MB and 200 MB. One of three records is a page with the markup of a news
site around 300 to 900 words. Each archive is registered and materialised as `documents` in its own process, as one
batch. Seconds are CPU seconds, so other work of the machine is not counted.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import ROOT, machine, table, write  # noqa: E402

_MEGA = 1_000_000
_WORDS = Path(ROOT / "examples" / "web_pages.jsonl")


def words() -> list[str]:
    """The vocabulary of the examples."""
    texts = (json.loads(line).get("text", "") for line in _WORDS.read_text("utf-8").splitlines())
    return " ".join(texts).split()


def record(kind: str, number: int, block: bytes) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{kind}-{number}>\r\n"
        f"WARC-Date: 2024-05-01T10:00:00Z\r\nWARC-Target-URI: https://news.example/{number}\r\n"
        f"Content-Type: application/http; msgtype={kind}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def page(dice: random.Random, vocabulary: list[str], number: int) -> bytes:
    """A page with a menu, scripts, teasers and a footer around its article."""
    menu = "".join(f'<li class="item"><a href="/s/{n}">{dice.choice(vocabulary)}</a></li>' for n in range(60))
    article = "".join(
        f'<p class="body">{" ".join(dice.choices(vocabulary, k=60))}.</p>' for _ in range(dice.randrange(5, 16))
    )
    teasers = "".join(f'<div class="teaser"><h3>{dice.choice(vocabulary)}</h3></div>' for _ in range(40))
    script = "".join(f"window.x{n}={dice.random()};" for n in range(400))
    html = (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{number}</title>"
        f"<script>{script}</script></head>"
        f"<body><header><nav><ul>{menu}</ul></nav></header><main><article><h1>{number}</h1>{article}</article></main>"
        f"<aside>{teasers}</aside><footer>Imprint</footer></body></html>"
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + html


def archive(path: Path, megabytes: int) -> int:
    """Write an archive; return its number of pages."""
    dice, vocabulary, number = random.Random(7), words(), 0
    with path.open("wb") as file:
        while file.tell() < megabytes * _MEGA:
            for kind, block in (
                ("request", b"GET / HTTP/1.1\r\n\r\n"),
                ("response", page(dice, vocabulary, number)),
                ("metadata", b"fetchTimeMs: 12\r\n"),
            ):
                packer = zlib.compressobj(6, wbits=31)
                file.write(packer.compress(record(kind, number, block)) + packer.flush())
            number += 1
    return number


def child(path: Path, home: Path) -> None:
    """Register an archive and materialise its documents; print times and peak resident memory."""
    import dagster as dg

    from personahub_assets.core.config import Environment
    from personahub_assets.definitions import build
    from personahub_assets.defs.batches import BATCHES, REFRESH
    from personahub_assets.sources.register import register
    from personahub_assets.store.tables import Store

    home.mkdir()
    (home / "hub.toml").write_text("[sources]\nrows_per_batch = 100_000_000\nlanguages = ['en']\n")
    store = Store(home=str(home))
    started = time.process_time()
    (batch,) = register(store, str(path))
    surveyed = time.process_time()
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(BATCHES.name), [batch])
        job = build(Environment(home=home)).resolve_job_def(REFRESH)
        quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
        job.execute_in_process(
            instance=instance, partition_key=batch, asset_selection=[dg.AssetKey("documents")], run_config=quiet
        )
    found = {
        "survey": surveyed - started,
        "documents": time.process_time() - surveyed,
        "rows": store.height("documents", batch),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(found))


def main() -> None:
    """Measure both sizes and write the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in (20, 200):
            path = Path(folder) / f"crawl{megabytes}.warc.gz"
            pages = archive(path, megabytes)
            command = [sys.executable, __file__, "--child", str(path), str(Path(folder) / f"hub{megabytes}")]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            assert found["rows"] == pages, (found, pages)
            rows.append(
                [
                    f"{path.stat().st_size / _MEGA:.0f} MB",
                    f"{3 * pages:,}",
                    f"{pages:,}",
                    f"{found['survey']:.1f} s",
                    f"{found['documents']:.1f} s",
                    f"{pages / found['documents']:,.0f}",
                    f"{path.stat().st_size / _MEGA / found['documents']:.1f}",
                    f"{found['peak']:.0f} MiB",
                ]
            )
    head = [
        "archive",
        "records",
        "pages",
        "ingest, CPU",
        "documents, CPU",
        "pages/s",
        "MB/s (compressed)",
        "peak memory",
    ]
    about = machine()
    said = table(head, rows) + f"\n\n{about['cpu']}, Python {about['python']}."
    print(said)
    write(ROOT / "docs" / "web-archives.md", "archives", said)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
