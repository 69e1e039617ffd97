"""Objects: the files of a home on object storage, by `obstore`, which reads its own variables (`AWS_…`, `GOOGLE_…`, …).

Nothing here assumes a rename, a lock, or a list that is up to date: an object is written whole or not at all, and on a
condition where two could write it.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from personahub_assets.core.errors import AccessError, ConfigError, StoreError
from personahub_assets.store.storage_faults import describe, names_reason

_INSTALL = "pip install 'personahub-assets[cluster]'"
_RETRY: Any = {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}
_PART_BYTES = 16 << 20
_SHA256 = "sha256"
_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, if it is not Amazon, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True)
class Version:
    """One version of an object.

    Attributes:
        etag: the server's name for this version.
        size: bytes.
        sha256: of its content, as its writer says; empty if it does not say.
    """

    etag: str
    size: int
    sha256: str = ""


class Conflict(StoreError):
    """An object was not written, because its version is not the expected one."""


@dataclass(frozen=True)
class Objects:
    """The objects below an address such as `s3://bucket/home`, by their paths below it."""

    url: str

    def head(self, key: str) -> Version | None:
        """The version of an object; None if there is no such object.

        Raises:
            AccessError: if the server cannot be asked.
        """
        import obstore

        with self._asking("look at", key):
            try:
                answer = obstore.get(self._server, key, options={"head": True})
            except FileNotFoundError:
                return None
            return _version(answer.meta, answer.attributes)

    def read(self, key: str) -> tuple[bytes, Version] | None:
        """The content of a small object; None if there is no such object.

        Raises:
            AccessError: if the server cannot be asked.
            StoreError: if the content is not what its writer wrote.
        """
        import obstore

        with self._asking("read", key):
            try:
                answer = obstore.get(self._server, key)
            except FileNotFoundError:
                return None
            content = bytes(answer.bytes())
            version = _version(answer.meta, answer.attributes)
        self._check(key, version, len(content), hashlib.sha256(content).hexdigest())
        return content, version

    def download(self, key: str, file: Path) -> Version | None:
        """Write the content of an object to a file; None if there is no such object.

        Raises:
            AccessError: if the server cannot be asked, or the file cannot be written.
            StoreError: if the content is not what its writer wrote.
        """
        import obstore

        hasher, size = hashlib.sha256(), 0
        with self._asking("read", key):
            try:
                answer = obstore.get(self._server, key)
            except FileNotFoundError:
                return None
            version = _version(answer.meta, answer.attributes)
            with file.open("wb") as opened:
                for piece in answer.stream(min_chunk_size=_PART_BYTES):
                    opened.write(piece)
                    hasher.update(piece)
                    size += len(piece)
        self._check(key, version, size, hasher.hexdigest())
        return Version(version.etag, size, hasher.hexdigest())

    def write(self, key: str, content: bytes | Path, expected: str | Literal["absent", "any"]) -> Version:
        """Write an object.

        Args:
            content: the content, or the file that has it.
            expected: the ETag that the object must have; `absent` if it must not exist yet; `any` without a condition:
                only so is a large file sent in pieces, and not held in memory.

        Raises:
            Conflict: if the object is not as expected, and its content is another one.
            AccessError: if the server cannot be asked.
        """
        import obstore

        digest, size = _measured(content)
        mode: Any = {"absent": "create", "any": "overwrite"}.get(expected, {"e_tag": expected})
        options = {"attributes": {_SHA256: digest}, "mode": mode, "chunk_size": _PART_BYTES}
        with self._asking("write", key):
            try:
                answer = obstore.put(self._server, key, content, **options)
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                answer = None
            except FileNotFoundError:
                if expected in ("absent", "any"):  # the bucket does not exist
                    raise
                answer = None
        if answer is not None:
            return Version(answer["e_tag"] or "", size, digest)
        # A request whose answer was lost is sent again by the library, and then meets its own object.
        present = self.head(key)
        if present is not None and (present.sha256, present.size) == (digest, size):
            return present
        raise Conflict(f"{self.url}/{key} was written by another process meanwhile")

    def delete(self, key: str) -> None:
        """Delete an object; an absent one counts as deleted.

        Raises:
            AccessError: if the server cannot be asked.
        """
        import obstore

        with self._asking("delete", key):
            try:
                obstore.delete(self._server, key)
            except FileNotFoundError:
                return

    def list(self, prefix: str = "") -> Iterator[tuple[str, Version]]:
        """The objects below a prefix; the newest ones can be missing.

        Raises:
            AccessError: if the server cannot be asked.
        """
        import obstore

        with self._asking("list", prefix):
            for page in obstore.list(self._server, prefix or None):
                for meta in page:
                    yield str(meta["path"]), _version(meta, {})

    def list_top(self) -> Iterator[tuple[str, Version]]:
        """The objects that are in no folder.

        Raises:
            AccessError: if the server cannot be asked.
        """
        import obstore

        with self._asking("list", ""):
            for meta in obstore.list_with_delimiter(self._server)["objects"]:
                yield str(meta["path"]), _version(meta, {})

    @cached_property
    def _server(self) -> Any:
        try:
            from obstore.store import from_url
        except ImportError as error:
            raise ConfigError(f"PERSONAHUB_HOME={self.url} needs obstore: {_INSTALL}") from error
        is_plain = any(_endpoint(name).startswith("http://") for name in _ENDPOINTS)
        options: Any = {"allow_http": is_plain}
        try:
            return from_url(self.url, client_options=options, retry_config=_RETRY)
        except Exception as error:
            raise ConfigError(f"PERSONAHUB_HOME={self.url} cannot be used: {describe(error, self._remedy)}") from error

    @contextmanager
    def _asking(self, action: str, key: str) -> Iterator[None]:
        server = self._server
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of this disk
                raise
            address = f"{self.url}/{key}" if key else self.url
            reason = describe(self._with_reason(error), self._remedy)
            raise AccessError(f"cannot {action} {address} ({type(server).__name__}): {reason}") from error

    def _with_reason(self, error: BaseException) -> BaseException:
        """The same refusal with its reason: the answer to a HEAD request has none."""
        import obstore

        if names_reason(error):
            return error
        try:
            obstore.list_with_delimiter(self._server)
        except Exception as same:  # noqa: BLE001 - whatever it is, it is described
            return same if names_reason(same) else error
        return error

    @property
    def _remedy(self) -> str:
        scheme, _, path = self.url.partition("://")
        variables = _VARIABLES.get(scheme, "the variables of the storage")
        return f"Check that {path.partition('/')[0]!r} exists, {variables}, and the network; then run again"

    def _check(self, key: str, version: Version, size: int, digest: str) -> None:
        if size != version.size or version.sha256 not in ("", digest):
            written = f"{version.size} with {version.sha256[:12] + '…' if version.sha256 else 'an unknown one'}"
            raise StoreError(
                f"{self.url}/{key} is damaged: {size} bytes with SHA-256 {digest[:12]}…, its writer wrote {written}. "
                "Put a copy back, or delete the object and run again"
            )


def _endpoint(name: str) -> str:
    """The value of a variable that names a server.

    Raises:
        ConfigError: if it is no address; the library would panic.
    """
    value = os.environ.get(name, "").strip()
    if value and not value.startswith(("http://", "https://")):
        raise ConfigError(f"{name}={value} is no address of a server: write http:// or https:// before it")
    return value


def _version(meta: Any, attributes: Any) -> Version:
    return Version(str(meta["e_tag"] or ""), int(meta["size"]), str(attributes.get(_SHA256) or ""))


def _measured(content: bytes | Path) -> tuple[str, int]:
    """SHA-256 and size."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    with content.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest(), content.stat().st_size
