"""What somebody starts in the UI is refused once, before a run exists."""

import shutil
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hub import SETTINGS, TOPICS, Hub
from sites import serving

from personahub_assets.core import project_files
from personahub_assets.core.errors import ConfigError
from personahub_assets.instance.launch_guard import ASSETS_JOB, Launch
from personahub_assets.runs.preflight import check_launch
from personahub_assets.standin.server import StandinServer

Once = Callable[[str, Callable[[Path], None]], Path]
DEAD = "http://127.0.0.1:9/v1"
MONEY = {"resources": {"llm": {"config": {"max_cost": 1.0}}}}


@pytest.fixture
def hub(once: Once, home: Path, standin: StandinServer) -> Hub:
    """A copy of a home with the personas of two documents, whose answers are recorded."""

    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", standin)
        hub.pages("a", TOPICS[:2])
        assert hub.run(select=["+personas"]) == {}

    return Hub(shutil.copytree(once("preflight", make) / "hub", home), standin)


def check(hub: Hub, *assets: str, job: str = ASSETS_JOB, config: Any = None, **environment: str | None) -> None:
    launch = Launch(job, list(assets), ["a"], config or {})
    check_launch(hub.environment.model_copy(update=environment), launch)


def test_a_budget_of_money_without_prices_and_a_dead_server_are_named_together(hub: Hub) -> None:
    with pytest.raises(ConfigError, match=r"(?s)a budget of money needs prices.*\[prices\].*127\.0\.0\.1:9/v1"):
        check(hub, "tools", config=MONEY, llm_url=DEAD)
    (hub.home / "hub.toml").write_text(SETTINGS + "[prices]\nprompt = 1\n")
    check(hub, "tools", config=MONEY)


def test_a_dead_server_refuses_only_what_needs_it(hub: Hub) -> None:
    with pytest.raises(ConfigError, match=r"nothing is started: .*127\.0\.0\.1:9/v1"):
        check(hub, job="refresh_batch", llm_url=DEAD)
    with pytest.raises(ConfigError, match="nothing is started: "):
        check(hub, job="try_prompt", llm_url=DEAD)
    check(hub, "documents", "personas", llm_url=DEAD)
    for job in ("maintenance", "rebuild_warehouse", "make_release"):
        check(hub, job=job, llm_url=DEAD)
    check(hub, "release", llm_url=DEAD)


def test_answers_cannot_be_looked_up_for_an_unknown_model(hub: Hub) -> None:
    """Nothing would be asked, but the model is a part of every request: without it each run would fail."""
    assert hub.run(select=["tools"]) == {}
    with pytest.raises(ConfigError, match="PERSONAHUB_LLM_URL is not set"):
        check(hub, "tools", llm_url=None)
    check(hub, "tools", llm_url=None, llm_model="standin")


class Unauthorized(BaseHTTPRequestHandler):
    """Refuses the key of every request, before it looks at the body."""

    def do_GET(self) -> None:
        content = b'{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}'
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


def test_a_wrong_key_is_named_by_its_variable(hub: Hub) -> None:
    with serving(Unauthorized) as url, pytest.raises(ConfigError, match="PERSONAHUB_LLM_API_KEY"):
        check(hub, "tools", llm_url=f"{url}/v1", llm_model="standin")


def test_a_key_that_may_not_list_models_is_used(hub: Hub) -> None:
    with StandinServer(faults="models=key_echo") as server:
        check(hub, "tools", llm_url=server.url, llm_model="standin")


def test_a_broken_prompt_is_refused(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "files"
    for name in ("sql", "prompts"):
        shutil.copytree(project_files.root() / name, copy / name)
    monkeypatch.setattr(project_files, "root", lambda: copy)
    (copy / "prompts" / "tools.md").write_text("no front matter")
    with pytest.raises(ConfigError, match=r"tools\.md: expected three parts"):
        check(hub, "tools")


def test_too_few_solvers_and_a_missing_sandbox_are_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = hub.home / "hub.toml"
    settings.write_text(f"{SETTINGS}\n[datasets.math_solutions]\nsamples = 2\n", "utf-8")
    with pytest.raises(ConfigError, match=r"math_solutions\.samples is 2, and math_solutions needs 3 or more"):
        check(hub, "math_problems", "math_solutions")
    settings.write_text(f'{SETTINGS}\n[verification]\nsandbox = "bubblewrap"\n', "utf-8")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="install bubblewrap"):
        check(hub, "tools", "tool_implementations")
    check(hub, "tools", "tool_tests")


def test_files_are_not_asked_online(hub: Hub) -> None:
    files = {"llm_url": "files:", "llm_model": "standin"}
    online = {"resources": {"llm": {"config": {"batch_api": False}}}}
    with pytest.raises(ConfigError, match=r"nothing is started: .*'files:'.* no server to ask online"):
        check(hub, "documents", "text_personas", config=online, **files)
    with pytest.raises(ConfigError, match="no server to ask online"):
        check(hub, job="try_prompt", **files)
    check(hub, "documents", config=online, **files)
    check(hub, "documents", "text_personas", **files)
