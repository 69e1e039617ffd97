"""datasketch: MinHash signatures into its LSH index, first come first kept.

With `--bands` of the file's name in `with_datasketch_16x8.py` the split is set; here it is the library's own.
"""

from datasketch import MinHash, MinHashLSH
from task import PERMUTATIONS, Outcome, Task, run, words


def deduplicate(task: Task, params: tuple[int, int] | None = None) -> Outcome:
    """Ask the index for each row's neighbours among the earlier ones; a row stays if none of them did."""
    index = MinHashLSH(threshold=task.threshold, num_perm=PERMUTATIONS, params=params)
    found: list[list[int]] = []
    kept: list[bool] = []
    bags = ({word.encode() for word in words(text)} for text in task.texts())
    for row, signature in enumerate(MinHash.generator(bags, num_perm=PERMUTATIONS)):
        near = index.query(signature)
        # All rows go in, also those that are dropped, so that every pair is seen.
        index.insert(row, signature, check_duplication=False)
        found.append(near)
        kept.append(not any(kept[other] for other in near))
    return Outcome(
        rows=[row for row, stays in enumerate(kept) if stays],
        pairs=lambda: {(min(a, b), max(a, b)) for b, near in enumerate(found) for a in near},
        notes=[f"{index.b} bands of {index.r}, hits not verified"],
    )


if __name__ == "__main__":
    run(deduplicate, "datasketch")
