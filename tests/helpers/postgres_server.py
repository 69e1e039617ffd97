"""A PostgreSQL server for tests: its own data folder, 127.0.0.1, a free port, stopped by its process id."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

USER = DATABASE = "dagster"
PASSWORD = "cAnArY-postgres"
_UNPRIVILEGED = "nobody"
_START_S = 60


def program(name: str) -> str:
    """The path of a program of PostgreSQL: on the PATH, or where Debian puts it."""
    paths = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    path = shutil.which(name, path=os.pathsep.join([*paths, os.environ.get("PATH", "")]))
    assert path, f"{name} is missing: install PostgreSQL (Debian: postgresql)"
    return path


class PostgresServer:
    """Use as a context manager.

    Args:
        folder: new, for data and the password; readable by all, as the server does not run as root.
        password: of the user.
    """

    def __init__(self, folder: Path, password: str = PASSWORD):
        self._folder, self._password = folder, password
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    @property
    def variables(self) -> dict[str, str]:
        """The variables that deploy/dagster.yaml takes."""
        return self._variables(DATABASE)

    def of_database(self, name: str) -> dict[str, str]:
        """The same, of a new database."""
        self._run(program("createdb"), "--maintenance-db", self._plain("postgres"), name)
        return self._variables(name)

    def _variables(self, database: str) -> dict[str, str]:
        values = {"HOST": "127.0.0.1", "PORT": self.port, "USER": USER, "PASSWORD": self._password, "DB": database}
        return {f"POSTGRES_{name}": str(value) for name, value in values.items()}

    def __enter__(self) -> "PostgresServer":
        self._folder.mkdir()
        secret = self._folder / "password"
        secret.write_text(self._password)
        if os.geteuid() == 0:
            shutil.chown(self._folder, _UNPRIVILEGED)
            shutil.chown(secret, _UNPRIVILEGED)
        data = self._folder / "data"
        options = ["--username", USER, "--pwfile", str(secret), "--auth", "scram-sha-256", "--no-sync", "-E", "UTF8"]
        self._run(program("initdb"), "--pgdata", str(data), *options, "--no-locale")
        settings = {"listen_addresses": "127.0.0.1", "fsync": "off", "unix_socket_directories": str(self._folder)}
        arguments = [each for name, value in settings.items() for each in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("wb") as log:
            self._server = subprocess.Popen(
                [program("postgres"), "-D", str(data), "-p", str(self.port), *arguments],
                stdout=log,
                stderr=log,
                user=_UNPRIVILEGED if os.geteuid() == 0 else None,
            )
        try:
            self._wait()
            self._run(program("createdb"), "--maintenance-db", self._plain("postgres"), DATABASE)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.send_signal(signal.SIGINT)  # end all connections
        self._server.wait(timeout=30)

    def dump(self) -> str:
        """All tables of the database as text."""
        return self._run(program("pg_dump"), "--dbname", self._plain(DATABASE))

    def _wait(self) -> None:
        until = time.monotonic() + _START_S
        while subprocess.run([program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            assert self._server.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until, (self._folder / "log").read_text()
            time.sleep(0.1)

    def _plain(self, database: str) -> str:
        """The address for PostgreSQL's own programs."""
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def _run(self, *command: str) -> str:
        user = _UNPRIVILEGED if os.geteuid() == 0 else None
        done = subprocess.run(command, capture_output=True, text=True, user=user, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout
