"""datatrove: its four MinHash stages over files, with its own normalising and its own word tokenizer (spaCy)."""

import polars as pl
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.hashing import HashConfig
from task import BAND_ROWS, BANDS, Outcome, Task, run


def deduplicate(task: Task) -> Outcome:
    """Signatures, buckets, clusters, filter: each stage a pipeline of its own, in the files' folder."""
    work = task.scratch / "datatrove"
    config = MinhashConfig(
        n_grams=1, num_buckets=BANDS, hashes_per_bucket=BAND_ROWS, hash_config=HashConfig(precision=64)
    )
    # In a folder of its own: it would read every file whose name ends in the same way.
    (work / "in").mkdir(parents=True)
    (work / "in" / "rows.parquet").symlink_to(task.source.resolve())
    reader = ParquetReader(str(work / "in"), text_key="persona", id_key="persona_id")
    stages: list[list[PipelineStep]] = [
        [reader, MinhashDedupSignature(str(work / "signatures"), config=config)],
        [MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)],
        [MinhashDedupCluster(str(work / "buckets"), str(work / "remove"), config=config)],
        [reader, MinhashDedupFilter(str(work / "remove")), ParquetWriter(str(work / "out"))],
    ]
    tasks = (1, BANDS, 1, 1)
    for number, (pipeline, count) in enumerate(zip(stages, tasks, strict=True)):
        LocalPipelineExecutor(
            pipeline, tasks=count, workers=min(2, count), logging_dir=str(work / f"logs{number}")
        ).run()
    kept = pl.read_parquet(str(work / "out" / "*.parquet"), columns=["id"])
    return Outcome(
        ids=kept["id"],
        notes=[f"{BANDS} buckets of {BAND_ROWS}, hits not verified, components; writing included"],
    )


if __name__ == "__main__":
    run(deduplicate, "datatrove", "spacy")
