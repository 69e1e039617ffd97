"""The contenders of the lexical stage with their maximum sizes; environments are created at the first use."""

import sys
from dataclasses import dataclass
from pathlib import Path

from common import NotInstalled, environment

HERE = Path(__file__).resolve().parent
_POLARS = "polars>=2.1,<3"


@dataclass(frozen=True)
class Contender:
    """One tool; its label can contain the version.

    `most` is the maximum number of rows that it is run with, and `why` the reason for that limit.
    """

    name: str
    label: str
    script: str
    packages: tuple[str, ...] = ()
    # Environments are shared by contenders that need the same packages.
    environment: str = ""
    most: int = 100_000
    why: str = "minutes per run"
    # Whether it compiles at the first run; the other runs use the cache.
    compiled: bool = False

    @property
    def path(self) -> Path:
        return HERE / "contenders" / self.script

    @property
    def version(self) -> str:
        """The pinned version of its first package; empty for our own."""
        return self.packages[0].partition("==")[2] if self.packages else ""

    @property
    def title(self) -> str:
        return self.label.format(version=self.version)


CONTENDERS = (
    Contender("ours", "personahub, `exact`", "ours.py", most=5_000_000, compiled=True),
    Contender(
        "ours_minhash",
        "personahub, `minhash`",
        "ours_minhash.py",
        most=1_000_000,
        why="minutes: its bands make ever more candidates",
    ),
    Contender(
        "polars",
        "exact join in Polars alone",
        "with_polars.py",
        most=1_000_000,
        why="its candidates are held at once: more memory than here",
    ),
    Contender("daft", "daft {version}", "with_daft.py", ("daft==0.7.26", "numpy>=2"), "dedup-daft", 5_000_000),
    Contender(
        "rensa",
        "rensa {version}, 16 bands",
        "with_rensa_16.py",
        ("rensa==0.5.0",),
        "dedup-rensa",
        1_000_000,
        "its memory grows with the rows",
    ),
    Contender(
        "rensa_default",
        "rensa {version}, its own 4 bands",
        "with_rensa.py",
        ("rensa==0.5.0",),
        "dedup-rensa",
        1_000_000,
        "its memory grows with the rows",
    ),
    Contender(
        "datasketch",
        "datasketch {version}",
        "with_datasketch.py",
        ("datasketch==2.0.0",),
        "dedup-datasketch",
        1_000_000,
    ),
    Contender(
        "datasketch_16x8",
        "datasketch {version}, 16 bands of 8",
        "with_datasketch_16x8.py",
        ("datasketch==2.0.0",),
        "dedup-datasketch",
    ),
    Contender(
        "data_juicer",
        "Data-Juicer {version}",
        "with_data_juicer.py",
        # It imports aiohttp without requiring it.
        ("py-data-juicer==1.6.1", "aiohttp"),
        "dedup-data_juicer",
    ),
    Contender("text_dedup", "text-dedup {version}", "with_text_dedup.py", ("text-dedup==0.4.0",), "dedup-text_dedup"),
    Contender(
        "datatrove",
        "datatrove {version}",
        "with_datatrove.py",
        # Its extras lack the tokenizer that its default needs.
        ("datatrove[io,processing]==0.10.1", "spacy>=3.8,<4"),
        "dedup-datatrove",
    ),
)


def python_of(contender: Contender) -> tuple[Path, str | None]:
    """Return the interpreter of a contender, and a note on its installation, if any.

    Raises:
        NotInstalled: with the message of uv, or if the script is missing.
    """
    if not contender.path.exists():
        raise NotInstalled(f"benchmarks/dedup/contenders/{contender.script} does not exist")
    if not contender.packages:
        return Path(sys.executable), None
    return environment(contender.environment, (*contender.packages, _POLARS))
