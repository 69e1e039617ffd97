import shutil
from pathlib import Path

import pytest
from written import write_home

from personahub_assets.store.tables import Store


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of two batches, five personas and four; quotes and brackets in its path."""
    home = tmp_path_factory.mktemp("written") / "it's a [home] *"
    write_home(Store(home=str(home)), {"a": 5, "b": 4})
    return home


@pytest.fixture
def store(tmp_path: Path, written: Path) -> Store:
    """A copy of it, which the test can change."""
    return Store(home=str(shutil.copytree(written, tmp_path / written.name)))
