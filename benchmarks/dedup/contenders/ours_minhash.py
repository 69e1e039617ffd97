"""personahub with `method = "minhash"`: bands for a recall of 99.9 % at the threshold, every candidate verified."""

from functools import partial

from ours import deduplicate
from task import run

if __name__ == "__main__":
    run(partial(deduplicate, method="minhash"), "numba", threshold=True)
