"""Files that a release contains beside the data of some datasets, such as the program that checks constraints."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from personahub_assets.quality import languages
from personahub_assets.store.tables import Store
from personahub_assets.verification import verify_constraints

_WITH_CONSTRAINTS = (verify_constraints, languages)


def write_extra_files(snap: Store, configs: Iterable[str], making: Path) -> None:
    """Copy the program that checks constraints, if a released row has some.

    Args:
        snap: the released rows.
        configs: names of the released tables.
        making: the folder of the release.
    """
    if any(_has_constraints(snap, config) for config in configs):
        for module in _WITH_CONSTRAINTS:
            source = Path(str(module.__file__))
            shutil.copyfile(source, making / source.name)


def _has_constraints(snap: Store, config: str) -> bool:
    """Whether a row of a table has constraints."""
    kind = snap.columns("instruction_answers")["constraints"]
    if snap.columns(config).get("constraints") != kind:
        return False
    columns = (snap.read(config, batch, columns=["constraints"])["constraints"] for batch in snap.partitions(config))
    return any((column.list.len() > 0).any() for column in columns)
