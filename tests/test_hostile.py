"""Ids, names, columns, settings and servers with terminal commands: no command prints them."""

import json
import os
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

Called = Callable[..., tuple[int, str, str]]

EVIL = "[/nope][red]x\x1b]52;c;ZWNobw==\x07\x1b]8;;http://e\x1b\\\x1b[2J\r\x9b31m\u202egpj\u2066\u2028\u0085"
NAME = EVIL.replace("/", "_").replace("\r", "") + "\n.jsonl"


class Server(BaseHTTPRequestHandler):
    """Answers everything with an error whose text is hostile."""

    def do_GET(self) -> None:
        body = json.dumps({"error": {"message": EVIL}}, ensure_ascii=False).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - as the base class looks for it

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}/v1"
        listener.shutdown()


@pytest.fixture
def commanded(tmp_path: Path, called: Called, server: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command; return its output after checking that it has no terminal commands."""
    home = tmp_path / "hub [red]\x1b[1m"

    def run(*arguments: str, **environment: str) -> str:
        monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: PTH123, SIM115
        code, out, err = called(*arguments, home=home, PERSONAHUB_LLM_MODEL=EVIL.strip(), **environment)
        sys.stdin.close()
        assert "Traceback" not in err, (arguments, err)
        bad = [c for c in out + err if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
        assert bad == [], (arguments, out, err)
        assert code in (0, 1, 2), (arguments, code, err)
        assert out + err or code == 0, arguments
        return out + err

    return run


def test_nothing_foreign_commands_the_terminal(commanded: Callable[..., str], tmp_path: Path, server: str) -> None:
    source = tmp_path / NAME
    rows = [
        {"id": f"{EVIL}{n}", "text": f"A page {n} about bees {EVIL}", f"k{EVIL}": EVIL, "url": EVIL} for n in (1, 2)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"id": EVIL, "persona": f"A smith {EVIL}"}]))
    (tmp_path / f"c{EVIL.replace('/', '_')}.csv").write_text(f'"a{EVIL}","b"\n1,2\n')
    url = {"PERSONAHUB_LLM_URL": server}

    assert "3 rows of " in commanded("ingest", str(source), "--name", "bad")
    for arguments in (
        ["ingest", str(tmp_path / f"c{EVIL.replace('/', '_')}.csv")],
        ["ingest", f"/nowhere/{EVIL}"],
        ["ingest", str(source), "--text-column", EVIL],
        ["ingest", str(source), "--name", EVIL],
        ["ingest", "--generations", str(source)],
        ["plan"],
        ["plan", "--json"],
        ["run", "--select", "documents", "--select", "text_personas"],
        ["run", "--batch", EVIL],
        ["run", "--select", EVIL],
        ["run", "--retry", EVIL],
        ["run", "--max-time", EVIL],
        ["run", "--max-calls", EVIL],
        ["run", f"--{EVIL}"],
        [EVIL],
        ["run", "--personas-from", f"/nowhere/{EVIL}.csv", "--select", "tools"],
        ["why", f"bad/{EVIL}1"],
        ["why", EVIL],
        ["why", f"{EVIL}1", "--json"],
        ["takedown", "--document", f"{EVIL}1", "--dry-run", "--reason", EVIL],
        ["takedown", "--url-prefix", EVIL, "--batch", EVIL],
        ["release", EVIL],
        ["release", EVIL, "--verify"],
        ["release"],
        ["maintain"],
        ["search", EVIL, "--output", f"x.{EVIL}"],
        ["standin", "--faults", EVIL],
    ):
        commanded(*arguments, **url)
    (tmp_path / "hub [red]\x1b[1m" / "hub.toml").write_text(f"[generation]\n{json.dumps(EVIL)} = 1\n")
    commanded("run", **url)
    commanded("plan", PERSONAHUB_LLM_URL=f"http://{EVIL}/v1")
