"""The contenders and their virtual environments, one each under `.venv-bench/`, created by uv at the first use."""

import sys
from dataclasses import dataclass
from pathlib import Path

from common import NotInstalled, environment

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contender:
    """One client; its label can contain the version.

    `fallback` are requirements that replace those of the packages if they cannot be met here; the results then have a
    note.
    """

    name: str
    label: str
    script: str
    packages: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    resumes: bool = True
    sequential: bool = False

    @property
    def path(self) -> Path:
        return HERE / self.script


# Needed by all scripts of contenders for the schema.
_PYDANTIC = "pydantic>=2.11,<3"

CONTENDERS = (
    Contender("ours", "personahub", "ours.py"),
    Contender(
        "instructor",
        "Instructor {version}, as documented",
        "contenders/with_instructor.py",
        ("instructor==1.17.0", "openai==3.3.0"),
        resumes=False,
    ),
    Contender(
        "paper",
        "the paper's script (sequential, openai {version})",
        "contenders/with_paper_script.py",
        ("openai==3.3.0",),
        resumes=False,
        sequential=True,
    ),
    Contender(
        "distilabel",
        "distilabel {version}",
        "contenders/with_distilabel.py",
        ("distilabel[openai,instructor]==1.5.3",),
    ),
    Contender(
        "data_designer",
        "NeMo Data Designer {version}",
        "contenders/with_data_designer.py",
        ("data-designer==0.9.7",),
        # It requires the newest root certificates, which an index may not have yet; no request here uses TLS.
        fallback=("certifi>=2026.1",),
    ),
    Contender(
        "curator",
        "Bespoke Curator {version}",
        "contenders/with_curator.py",
        ("bespokelabs-curator==0.1.31",),
    ),
    Contender(
        "datatrove",
        "datatrove {version}",
        "contenders/with_datatrove.py",
        # Its extra `inference` without vllm, sglang and bitsandbytes, which install gigabytes of CUDA that a client of
        # an endpoint never loads.
        (
            "datatrove[io]==0.10.1",
            "aiofiles",
            "aiosqlite",
            "httpx",
            "numpy<2.3",
            "pandas",
            "pyyaml",
            "typer",
            "xxhash<4",
        ),
    ),
)


def python_of(contender: Contender) -> tuple[Path, str | None]:
    """Return the interpreter of a contender, and a note on its installation, if any; create a missing environment.

    Raises:
        NotInstalled: with the message of uv, or if the script is missing.
    """
    if not contender.path.exists():
        raise NotInstalled(f"benchmarks/clients/{contender.script} does not exist")
    if not contender.packages:
        return Path(sys.executable), None
    return environment(contender.name, (*contender.packages, _PYDANTIC), contender.fallback)


def version_of(contender: Contender) -> str:
    """The pinned version of its first package; empty for our own."""
    return contender.packages[0].partition("==")[2] if contender.packages else ""
