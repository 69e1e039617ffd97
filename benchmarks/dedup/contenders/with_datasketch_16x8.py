"""datasketch with 16 bands of 8: what it takes to miss next to nothing without verifying."""

from functools import partial

from task import run
from with_datasketch import deduplicate

if __name__ == "__main__":
    run(partial(deduplicate, params=(16, 8)), "datasketch")
