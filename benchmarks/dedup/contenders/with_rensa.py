"""rensa: its deduplicator with LSH, as its README shows it; candidates are checked by the similarity of sketches."""

from rensa import RMinHashDeduplicator
from task import PERMUTATIONS, Outcome, Task, run, words


def deduplicate(task: Task, bands: int | None = None) -> Outcome:
    """Add all rows; it says of each whether it is kept. Without a number of bands it takes its own, 4 of 32."""
    index = RMinHashDeduplicator(threshold=task.threshold, num_perm=PERMUTATIONS, use_lsh=True, num_bands=bands)
    kept = index.add_pairs((str(row), words(text)) for row, text in enumerate(task.texts()))
    return Outcome(
        rows=[row for row, stays in enumerate(kept) if stays],
        notes=[f"{bands or 4} bands of {PERMUTATIONS // (bands or 4)}, hits checked by their sketches"],
    )


if __name__ == "__main__":
    run(deduplicate, "rensa", threshold=True)
