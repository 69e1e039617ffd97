"""The documentation agrees with the code: generated pages are up to date and complete."""

import ast
import inspect
import os
import re
import runpy
import subprocess
import sys
import typing
from pathlib import Path

import dagster as dg
import pytest
import typer.main
from typer.testing import CliRunner

from personahub_assets.cli.app import app
from personahub_assets.core import presets, project_files
from personahub_assets.core.config import DatasetTask, Environment, HubConfig, RoleSection, ServerSection
from personahub_assets.core.prompts import Prompt
from personahub_assets.core.records import DATASETS, DatasetItem
from personahub_assets.definitions import build_definitions
from personahub_assets.embedding.minilm import cache_folder
from personahub_assets.generation.requests import Reason
from personahub_assets.hub import Hub
from personahub_assets.sources.rows import SourceReason
from personahub_assets.store.schema import dataset_sql
from personahub_assets.store.tables import table_sql

ROOT = Path(__file__).resolve().parent.parent
BESIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", ".github/PULL_REQUEST_TEMPLATE.md")
DESCRIBE = runpy.run_path(str(ROOT / "scripts" / "describe.py"))


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """The text under a heading, up to the next one of its level."""
    level = heading.split(" ")[0]
    return re.split(rf"^{level} ", text.split(f"{heading}\n", 1)[1], flags=re.MULTILINE)[0]


def pages() -> list[Path]:
    """All documentation: the files beside the code, and the pages of the site."""
    return [*(ROOT / name for name in BESIDE), *sorted((ROOT / "docs").glob("*.md"))]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    lines = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", lines, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> dict[str, typing.Any]:
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def parameters(command: typing.Any) -> list[typing.Any]:
    """Of a command, or of all commands of a group such as `new`."""
    return [*command.params, *(p for each in getattr(command, "commands", {}).values() for p in each.params)]


def make_targets() -> list[str]:
    (line,) = re.findall(r"^\.PHONY: (.*)$", page("Makefile"), flags=re.MULTILINE)
    return list(line.split())


@pytest.mark.parametrize("name", DESCRIBE["PAGES"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    committed = page(f"docs/{name}")
    assert committed == DESCRIBE["filled"](committed), f"docs/{name} is out of date; run: python scripts/describe.py"


def test_an_emptied_block_is_filled_again() -> None:
    full = page("docs/tables.md")
    emptied = re.sub(r"(<!-- generated: \w+ -->\n).*?(<!-- end -->)", r"\1\2", full, flags=re.DOTALL)
    assert len(emptied) < len(full) / 2
    assert DESCRIBE["filled"](emptied) == full


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        DESCRIBE["filled"]("<!-- generated: nonsense -->\n<!-- end -->")


def test_every_setting_is_described() -> None:
    text = page("docs/configuration.md")
    for name, field in HubConfig.model_fields.items():
        heading, model = {
            "datasets": ("[datasets.NAME]", DatasetTask),
            "roles": ("[roles.ROLE]", RoleSection),
            "servers": ("[[servers]]", ServerSection),
        }.get(name, (f"[{name}]", typing.cast("typing.Any", field.annotation)))
        body = section(text, f"### `{heading}`")
        for key, setting in model.model_fields.items():
            assert setting.description, f"{name}.{key} has no description in config.py"
            (row,) = [line for line in body.splitlines() if line.startswith(f"| `{key}` |")]
            assert setting.description in row


def test_every_environment_variable_is_described_with_its_default() -> None:
    rows = re.findall(r"^\| `(PERSONAHUB_\w+)` \| (.+?) \|", page("docs/configuration.md"), flags=re.MULTILINE)
    wanted = {
        f"PERSONAHUB_{name.upper()}": "not set" if field.default is None else f"`{field.default}`"
        for name, field in Environment.model_fields.items()
    }
    assert dict(rows) == wanted | {"PERSONAHUB_CACHE": "`~/.cache/personahub`"}


def test_the_cache_variables_work_as_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PERSONAHUB_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == (Path("~/.cache").expanduser() / "personahub").resolve()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == (tmp_path / "personahub").resolve()
    monkeypatch.setenv("PERSONAHUB_CACHE", str(tmp_path / "own"))
    assert cache_folder() == (tmp_path / "own").resolve()


def test_every_reason_is_explained() -> None:
    text = page("docs/reasons.md")
    for heading, reasons in (
        ("## Requests to the language model", Reason),
        ("## Rows of source files", SourceReason),
    ):
        explained = re.findall(r"^\| `(\w+)` \| \S", section(text, heading), flags=re.MULTILINE)
        assert explained == list(typing.get_args(reasons))


def test_every_table_and_view_is_described() -> None:
    headings = re.findall(r"^### `(\w+)`$", page("docs/tables.md"), flags=re.MULTILINE)
    assert headings == [
        *table_sql(),
        "dataset_items",
        "written_items",
        "item_scores",
        *project_files.sql_files("views"),
    ]


def test_every_column_of_a_table_has_a_meaning() -> None:
    text = section(page("docs/tables.md"), "## Tables")
    for table in table_sql():
        rows = [line for line in section(text, f"### `{table}`").splitlines() if line.startswith("| `")]
        assert rows
        assert [row for row in rows if row.count("|") < 4 or re.search(r"\|\s*\|$", row)] == []


def test_every_ready_question_is_listed() -> None:
    listed = re.findall(r"^\| `sql/analysis/(\w+)\.sql` \| (.+) \|$", page("docs/tables.md"), flags=re.MULTILINE)
    assert [name for name, _ in listed] == list(project_files.sql_files("analysis"))
    assert [question for _, question in listed if not question.endswith("?")] == []


def test_every_command_and_make_target_is_described() -> None:
    text = page("docs/commands.md")
    rows = re.findall(r"^\| `(make|personahub) ([a-z-]+)", text, flags=re.MULTILINE)
    assert {name for kind, name in rows if kind == "personahub"} == set(commands())
    assert {name for kind, name in rows if kind == "make"} == set(make_targets())


def test_every_preset_has_a_section_with_its_address_and_how_it_was_tried() -> None:
    presets_section = section(page("docs/servers.md"), "## Presets")
    assert re.findall(r"^### (\S+)$", presets_section, flags=re.MULTILINE) == presets.names()
    for name, entry in presets.table().items():
        text = section(presets_section, f"### {name}")
        assert f"`{entry['url']}`" in text
        assert re.search("[Nn]ot tried against|Tried against", text), name
        for setting in presets.named(name) or {}:
            assert f"{setting} = " in text.split("\n\n")[0] or name == "openai-reasoning", f"{name}: {setting}"


def test_what_the_pages_tell_to_run_exists() -> None:
    """Commands, their options, make targets and files of the repository that any page names."""
    options = {
        name: {o for p in parameters(command) for o in p.opts} | {"--help"} for name, command in commands().items()
    }
    for path in (path.relative_to(ROOT) for path in pages()):
        text = page(str(path))
        for command, rest in re.findall(r"^(?:    |\$ )personahub ([a-z-]+)(.*)$", text, flags=re.MULTILINE):
            assert command in options, f"{path}: personahub {command}"
            named = set(re.findall(r"(?<!\S)--[a-z-]+", rest.split("#")[0]))
            assert named <= options[command], f"{path}: personahub {command}: {named - options[command]}"
        for target in re.findall(r"(?:`|^    )make ([a-z-]+)", text, flags=re.MULTILINE):
            assert target in make_targets(), f"{path}: make {target}"
        for file in re.findall(r"\b(?:sql|scripts|examples|vllm|personahub_assets|tests)/[\w/]+\.\w+", text):
            assert (ROOT / file).is_file(), f"{path}: {file}"


FOREIGN_OPTIONS = {
    "bwrap": {
        *("--unshare-all", "--unshare-user", "--uid", "--gid", "--cap-drop", "--die-with-parent", "--new-session"),
        *("--clearenv", "--hostname", "--ro-bind", "--ro-bind-try", "--ro-bind-data", "--remount-ro", "--chdir"),
        "--seccomp",
    },
    "pip and uv": {"--force-reinstall", "--no-deps", "--reinstall"},
    "dagster-webserver and dagster-daemon": {"--instance-ref", "--log-format", "--log-level", "--shutdown-pipe"},
    "git": {"--no-renames", "--porcelain", "--untracked-files"},
    "vllm": {"--enable-auto-tool-choice", "--tool-call-parser"},
    "the stand-in's process": {"--watch-stdin"},
    "verify_constraints.py of a release": {"--answers"},
    "every command": {"--help"},
}


def test_the_options_that_messages_name_exist() -> None:
    options = {o for command in commands().values() for p in parameters(command) for o in (*p.opts, *p.secondary_opts)}
    known = options.union(*FOREIGN_OPTIONS.values())
    for path in sorted((ROOT / "personahub_assets").rglob("*.py")):
        texts = [node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant)]
        named = {o for text in texts if isinstance(text, str) for o in re.findall(r"(?<![\w-])--[a-z][\w-]+", text)}
        assert named <= known, f"{path.relative_to(ROOT)}: {named - known}"


def test_what_the_readme_says_needs_no_model_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands of that section with three personas, in a home without a model."""
    text = section(page("README.md"), "## I have neither")
    (settings,) = re.findall(r"printf '(.*)' > hub/hub.toml", text)
    (selection,) = re.findall(r"^    personahub run (.*)$", text, flags=re.MULTILINE)
    for name in ("LLM_URL", "LLM_MODEL", "EMBED_URL"):
        monkeypatch.delenv(f"PERSONAHUB_{name}", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", "")  # set by the run; taken back at the end
    monkeypatch.setenv("PERSONAHUB_HOME", str(tmp_path / "hub"))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "hub.toml").write_text(settings.replace("\\n", "\n"))
    (tmp_path / "few.jsonl").write_text(
        '{"persona": "A baker in Lyon who grows her own rye and sells bread by weight."}\n'
        '{"persona": "A baker in Lyon who grows her own rye and sells bread by weight."}\n'
        '{"persona": "A retired tram driver who maps the bats of his town at night."}\n'
    )
    for arguments in (["ingest", str(tmp_path / "few.jsonl")], ["run", *selection.split()]):
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, result.exception) == (0, None), result.output
    query = "SELECT (SELECT count(*) FROM personas) AS kept, (SELECT count(*) FROM lexical_duplicates) AS dropped"
    result = CliRunner().invoke(app, ["sql", query, "--format", "csv"])
    assert result.stdout == "kept,dropped\n2,1\n"


def test_links_between_pages_lead_somewhere() -> None:
    """Files and headings; `make docs` checks the pages of the site once more."""
    for path in pages():
        for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", path.read_text("utf-8")):
            if "://" in link:
                continue
            target = path.parent / link if link else path
            assert target.exists(), f"{path.name}: {link}"
            if anchor:
                assert anchor in anchors(target.read_text("utf-8")), f"{path.name}: {link}#{anchor}"


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    text = page("mkdocs.yml")
    listed = re.findall(r"^ +- (?:\w+: )?([\w-]+\.md)$", text[text.index("\nnav:") :], flags=re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", page("docs/index.md")))
    assert linked == set(listed) - {"index.md"}


def test_the_site_loads_nothing_from_other_hosts() -> None:
    """No web fonts, and no repo_url, for which the theme asks GitHub about the repository."""
    text = page("mkdocs.yml")
    assert "  font: false\n" in text
    assert not re.search(r"^(repo_url|extra_javascript):", text, flags=re.MULTILINE)
    assert "://" not in page("docs/stylesheets/extra.css")


def test_the_readme_covers_the_first_steps_only() -> None:
    assert len(page("README.md").splitlines()) <= 200


def test_the_pages_are_in_plain_english() -> None:
    """No word of a list of unclear words; generated tables, code and quoted output are not checked."""
    left_out = re.compile(r"<!-- generated.*?<!-- end -->|^```.*?^```$", re.DOTALL | re.MULTILINE)
    odd = re.compile(r"\b(?:whoever|nobody|anew|parted|what goes|is so)\b", re.IGNORECASE)
    for path in pages():
        assert odd.findall(left_out.sub("", path.read_text("utf-8"))) == [], path.name


def test_the_hooks_are_those_of_make_lint() -> None:
    lint = re.findall(r"^\t\$\(BIN\)/(.+)$", page("Makefile").split("\nlint:")[1].split("\n\n")[0], flags=re.MULTILINE)
    hooks = re.findall(
        r"entry: \.venv/bin/(.+?)(?: --force-exclude)?$", page(".pre-commit-config.yaml"), flags=re.MULTILINE
    )
    assert hooks == [command.removesuffix(" .") for command in lint]


def test_ci_runs_every_supported_version_of_python() -> None:
    supported = re.findall(r"Python :: (3\.\d+)", page("pyproject.toml"))
    (matrix,) = re.findall(r"python-version: \[(.+)\]", page(".github/workflows/ci.yml"))
    assert [version.strip('" ') for version in matrix.split(",")] == supported
    assert f">={supported[0]},<3.{int(supported[-1].split('.')[1]) + 1}" in page("pyproject.toml")


def test_the_example_of_a_new_dataset_is_right() -> None:
    """The prompt parses, the class is a dataset class, and one of its answers renders."""
    text = page("docs/add-a-dataset.md")
    (declared,) = re.findall(r"^```markdown\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    of_fields = Prompt.parse(declared, "docs/add-a-dataset.md", ["persona"]).item
    prompt_file = re.sub(r"^fields:\n(?:  .*\n)+", "", declared, flags=re.MULTILINE)
    source, line = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    scope: dict[str, typing.Any] = dict(vars(__import__("personahub_assets.core.records", fromlist=["*"])))
    exec(source, scope)
    added = eval("{" + line + "}", scope)
    ((name, item),) = added.items()
    assert name not in DATASETS
    assert issubclass(item, DatasetItem)
    assert of_fields is not None
    (ours, theirs) = (each.model_json_schema()["properties"] for each in (item, of_fields))
    assert ours == theirs
    prompt = Prompt.parse(prompt_file, origin="docs/add-a-dataset.md")
    assert prompt.name == name
    assert all(f"- {field}: " in prompt.instructions for field in item.model_fields)
    assert "A baker." in prompt.messages({"persona": "A baker."})[1]["content"]
    assert f"COMMENT ON TABLE {name} IS 'A question that" in dataset_sql(name, item)


def test_the_changelog_has_the_present_version() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', page("pyproject.toml"), flags=re.MULTILINE)
    versions = re.findall(r"^## (\S+) - \d{4}-\d{2}-\d{2}$", page("CHANGELOG.md"), flags=re.MULTILINE)
    assert versions[0] == version


def test_the_changelog_is_by_kind() -> None:
    kinds = re.findall(r"^### (.+)$", page("CHANGELOG.md"), flags=re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def python_blocks(name: str) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", page(name), flags=re.MULTILINE | re.DOTALL))


def test_the_examples_of_the_python_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERSONAHUB_LLM_URL", "standin:")
    Path("hub").mkdir()
    Path("hub/hub.toml").write_text("[text_personas]\nper_document = 2\n[related_personas]\nhops = 1\nfan_out = 1\n")
    Path("pages.jsonl").write_text('{"id": "1", "text": "Soak the chickpeas overnight with a bay leaf."}\n')
    exec(python_blocks("docs/python.md"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "4 None"
    assert said[-1].startswith("no dataset 'tool' (did you mean 'tools'?")


def test_the_example_notebook_runs(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "PERSONAHUB_LLM_URL"}
    command = [sys.executable, ROOT / "examples" / "notebook.py", tmp_path / "home"]
    ended = subprocess.run(command, cwd=tmp_path, env=inherited, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "│ lexical  ┆ 1.0 " in ended.stdout
    assert Hub(tmp_path / "home").counts()["tools"] == 5


def test_every_method_of_a_hub_is_described() -> None:
    methods = {name for name in vars(Hub) if not name.startswith("_")} - {"home", "store", "results"}
    assert methods <= set(re.findall(r"`(?:[^`]*, )?hub\.(\w+)\(", page("docs/python.md")))


def test_the_example_of_your_own_dagster_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = python_blocks("docs/your-own-dagster.md").replace("/data/hub", str(tmp_path / "hub"))
    scope: dict[str, typing.Any] = {}
    exec(code, scope)
    dg.Definitions.validate_loadable(scope["defs"])
    names = section(page("docs/your-own-dagster.md"), "# The graph in your own Dagster")
    resolved = scope["defs"].get_repository_def().asset_graph
    assert dg.AssetKey(["personahub", "personas"]) in resolved.get(dg.AssetKey("reviewed_personas")).parent_keys
    settings = (
        scope["defs"].get_repository_def().get_top_level_resources()["personahub_llm"].config_schema.default_value
    )
    assert (settings["max_calls"], settings["retry"]) == (10_000, ["refused"])
    assert {job.name for job in scope["defs"].get_repository_def().get_all_jobs()} >= {"personahub_refresh_batch"}
    assert "`personahub_refresh_batch`" in names
    with dg.DagsterInstance.ephemeral() as instance:
        scope["add_batches"](instance)
        assert instance.get_dynamic_partitions("personahub_batch") == []
    text = page("docs/your-own-dagster.md")
    for argument in inspect.signature(build_definitions).parameters:
        assert f"`{argument}`" in text


def test_the_list_for_language_models_names_every_page() -> None:
    text = page("docs/llms.txt")
    assert text == DESCRIBE["llms_txt"](), "docs/llms.txt is out of date; run: python scripts/describe.py"
    named = set(re.findall(r"\]\(([\w-]+)\.html\)", text))
    assert named == {path.stem for path in (ROOT / "docs").glob("*.md")}
