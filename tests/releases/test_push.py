"""`personahub release NAME --push`: what a server of the Hub's kind gets, and what is said when it refuses."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from personahub_assets.releases.build import freeze
from personahub_assets.releases.folder import Release
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.store.tables import Store

Said = tuple[int, str, str]
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"


class HubServer(ThreadingHTTPServer):
    """As much of the Hub's API as one upload needs; holds the files of the dataset."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {"old.txt": b"of an earlier release"}
        self.token, self.messages = TOKEN, list[str]()
        self.broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        if "/tree/" in self.path:
            entries = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in self.server.files]
            self._reply(entries)
        else:
            self._reply({"id": "team/personas", "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._reply({"error": f"Invalid username or password: {self.headers.get('Authorization')}"}, 401)
        elif self.path.endswith("/repos/create"):
            self.server.created.append(json.loads(body))
            self._reply({"url": f"{self.server.url}/datasets/team/personas"})
        elif self.path.endswith("/validate-yaml"):
            self._reply({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self._reply({"files": modes})
        elif self.server.broken:
            self._reply({"error": "Disk of the server is full"}, 507)
        else:
            self._commit([json.loads(line) for line in body.splitlines()])

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if line["key"] == "header":
                self.server.messages.append(line["value"]["summary"])
            elif line["key"] == "file":
                self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del self.server.files[line["value"]["path"]]
        self._reply({"commitUrl": f"{self.server.url}/datasets/team/personas/commit/1", "commitOid": "1" * 40})

    def _reply(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)  # of the environment when it is imported
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, written: Path) -> Release:
    home = tmp_path_factory.mktemp("pushed") / "hub"
    home.mkdir()
    (home / "tables").symlink_to(written / "tables")
    return freeze(Store(home=str(home)), ReleaseSpec.of("v1"))


@pytest.mark.parametrize("options", [[], ["--public"]])
def test_the_dataset_has_the_files_of_the_release_and_no_others(
    hub: HubServer, made: Release, called: Callable[..., Said], options: list[str]
) -> None:
    home = made.path.parent.parent
    code, out, err = called("release", "v1", "--push", "team/personas", *options, home=home)
    assert (code, out) == (0, f"{hub.url}/datasets/team/personas\n"), err
    assert hub.files == {name: path.read_bytes() for name, path in made.files().items()}
    assert hub.messages == ["Release v1"]
    assert (hub.created[0]["name"], hub.created[0]["organization"], hub.created[0]["type"]) == (
        "personas",
        "team",
        "dataset",
    )
    assert hub.created[0].get("visibility", "public") == ("public" if options else "private") or hub.created[0].get(
        "private"
    ) is (not options)


def test_a_refusal_is_one_message_without_the_token(hub: HubServer, made: Release, called: Callable[..., Said]) -> None:
    hub.token = "another"
    code, out, err = called("release", "v1", "--push", "team/personas", home=made.path.parent.parent)
    assert (code, out) == (1, "")
    assert "could not be uploaded to team/personas: " in err
    assert "set HF_TOKEN to a token that may write" in err
    assert TOKEN not in err
    assert "Traceback" not in err


def test_a_failure_in_the_middle_publishes_nothing(hub: HubServer, made: Release, called: Callable[..., Said]) -> None:
    hub.broken = True
    code, _, err = called("release", "v1", "--push", "team/personas", home=made.path.parent.parent)
    assert code == 1
    assert "nothing of this release was published; push it again" in err
    assert list(hub.files) == ["old.txt"]


def test_a_changed_release_is_not_uploaded(hub: HubServer, made: Release, called: Callable[..., Said]) -> None:
    (added := made.path / "new.txt").touch()
    code, _, err = called("release", "v1", "--push", "team/personas", home=made.path.parent.parent)
    added.unlink()
    assert code == 1
    assert "release 'v1' was changed and is not uploaded: new.txt: not part of the release" in err
    assert hub.created == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["v1", "--push", "personas"], "'personas' is not the name of a dataset: use OWNER/NAME"),
        (["v1", "--push", "a/b", "--verify"], "--push and --public are for one release"),
        (["--push", "a/b"], "--push and --public are for one release"),
        (["v1", "--public"], "--push and --public are for one release"),
        (["v1", "--push", "a/b", "--validation", "0.1"], "--validation: only for making a release"),
        (["v2", "--push", "a/b"], "no release 'v2'"),
    ],
)
def test_wrong_options_are_refused(made: Release, called: Callable[..., Said], arguments: list[str], said: str) -> None:
    code, out, err = called("release", *arguments, home=made.path.parent.parent)
    assert (code, out) == (1 if said.startswith("no release") else 2, "")
    assert said in err
