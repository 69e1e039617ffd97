"""Homes on object storage: their addresses, and the names of their working copies.

A working copy is a folder on the disk of a worker, with the files of the home. Its name is the address of the home, so
that whoever has the folder knows the home: `s3://bucket/home` is `s3~3a~2f~2fbucket~2fhome`.
"""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from personahub_assets.core.errors import ConfigError

SCHEMES = ("s3", "gs", "az")

_FORMS = "s3://bucket/home, gs://bucket/home, az://container/home, or a folder"
# Also with one slash: a folder with the name `s3:` is not what was meant.
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*+://|(?:s3|gs|az):)", re.IGNORECASE)
_PLAIN = re.compile(r"[a-z0-9._-]")
_ESCAPED = re.compile(r"~([0-9a-f]{2})")
_NAME = re.compile(rf"(?:{'|'.join(SCHEMES)})~3a~2f~2f(?:[a-z0-9._-]|~[0-9a-f]{{2}})++")
_LONGEST = 240  # characters of a name of a folder, with room for what others append


def is_address(home: str) -> bool:
    """Whether a home is given by an address instead of a path."""
    return _ADDRESS.match(home.strip()) is not None


def check_address(url: str) -> None:
    """Refuse an address that names no folder of object storage.

    Raises:
        ConfigError: naming the valid forms.
    """
    address = urlsplit(url)
    if "@" in address.netloc or address.query or address.fragment:
        raise ConfigError(
            f"PERSONAHUB_HOME={address.scheme}://… has a user, a key or a query: give keys by the variables of the "
            "storage, such as AWS_ACCESS_KEY_ID, and the address alone: s3://bucket/home"
        )
    # A scheme in capitals, a space before it or a `..` would give one home the names of two.
    is_exact = url.startswith(f"{address.scheme}://") and not {".", ".."} & set(address.path.split("/"))
    if address.scheme not in SCHEMES or not address.netloc or not is_exact:
        raise ConfigError(f"PERSONAHUB_HOME={url} is not an address of object storage; valid: {_FORMS}")


def working_copy(url: str, parent: Path) -> Path:
    """The folder of the working copy of a home, below `parent`.

    Raises:
        ConfigError: if the address is wrong, or too long for the name of a folder.
    """
    check_address(url)
    url = url.rstrip("/")
    name = "".join(
        each if _PLAIN.fullmatch(each) else "".join(f"~{byte:02x}" for byte in each.encode()) for each in url
    )
    if len(name) > _LONGEST:
        raise ConfigError(f"PERSONAHUB_HOME={url} is too long: its working copy has a name of {len(name)} characters, "
                          f"and {_LONGEST} are possible")  # fmt: skip
    return parent / name


def address_of(root: Path) -> str | None:
    """The address of the home whose working copy a folder is; None for a home that is this folder."""
    if not _NAME.fullmatch(root.name):
        return None
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), root.name).encode("latin-1").decode()


def default_parent() -> Path:
    """The folder of working copies, if PERSONAHUB_WORK is not set."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "personahub"
