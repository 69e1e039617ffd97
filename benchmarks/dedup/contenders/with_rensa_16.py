"""rensa with 16 bands of 8: the number from which on its result no longer changes."""

from functools import partial

from task import run
from with_rensa import deduplicate

if __name__ == "__main__":
    run(partial(deduplicate, bands=16), "rensa", threshold=True)
