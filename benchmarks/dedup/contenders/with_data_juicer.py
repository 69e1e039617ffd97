"""Data-Juicer: its operator document_minhash_deduplicator on words, hashing in as many processes as there are cores.

Over a plain Dataset: its own NestedDataset takes twice as long for the same.
"""

import os

from data_juicer.ops.deduplicator.document_minhash_deduplicator import DocumentMinhashDeduplicator
from datasets import Dataset
from task import PERMUTATIONS, Outcome, Task, run, within


def deduplicate(task: Task) -> Outcome:
    """Hash every sample, then cluster; the dataset keeps the first of each component."""
    texts = task.texts()
    dataset = Dataset.from_dict({"text": texts, "row": list(range(len(texts)))})
    operator = DocumentMinhashDeduplicator(
        tokenization="space",
        window_size=1,
        lowercase=True,
        ignore_pattern=r"\p{P}",
        num_permutations=PERMUTATIONS,
        jaccard_threshold=task.threshold,
    )
    kept, _ = operator.process(dataset.map(operator.compute_hash, num_proc=os.cpu_count()))
    return Outcome(
        rows=list(kept["row"]),
        pairs=lambda: within(group for table in operator.hash_tables for group in table.values()),
        notes=[f"{operator.num_bands} bands of {operator.num_rows_per_band}, hits not verified, components"],
    )


if __name__ == "__main__":
    run(deduplicate, "py-data-juicer")
