"""hub.toml and the environment: every mistake is named with its file and the valid choices."""

import traceback
from pathlib import Path

import pytest

from personahub_assets.core.config import Environment, HubConfig, check_variables
from personahub_assets.core.errors import ConfigError


def loaded(folder: Path, text: str) -> HubConfig:
    (folder / "hub.toml").write_text(text)
    return HubConfig.load(folder / "hub.toml")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "LLM_URL", "LLM_MODEL", "LLM_API_KEY", "EMBED_URL", "EMBED_MODEL", "EMBED_API_KEY"):
        monkeypatch.delenv(f"PERSONAHUB_{name}", raising=False)


def test_no_file_and_an_empty_one_are_the_defaults(tmp_path: Path) -> None:
    assert HubConfig.load(tmp_path / "hub.toml") == HubConfig() == loaded(tmp_path, "")
    assert HubConfig().lexical.threshold == HubConfig().semantic.threshold == 0.9


def test_settings_reach_their_place(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
        [text_personas]
        per_document = 5
        parameters = {tone = "dry"}
        temperature = 0
        [datasets.tools]
        samples = 3
        share = 0.25
        max_tokens = 2000
        """,
    )
    assert config.text_personas.per_document == 5
    assert config.text_personas.sampling() == {"temperature": 0}
    assert config.dataset("tools").samples == 3
    assert config.dataset("tools").sampling() == {"max_tokens": 2000}
    assert config.dataset("game_npcs").share == 1


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("colour = 1", "colour"),
        ("[lexical]\ntreshold = 0.9", "lexical.treshold"),
        ("[datasets.tools]\nsample = 2", "datasets.tools.sample"),
        ("[text_personas]\nseed = 1", "text_personas.seed"),
        ("[generation]\ntemperature = 1", "generation.temperature"),
    ],
)
def test_an_unknown_key_is_refused_with_its_file(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=r"docs/configuration\.md") as caught:
        loaded(tmp_path, text)
    assert f"{tmp_path / 'hub.toml'}: {key}: " in str(caught.value)


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(
            tmp_path,
            "colour = 1\n[lexical]\nthreshold = 2\n[generation]\nmax_in_flight = 0\n[datasets.tolls]\nsample = 1\n",
        )
    for part in ("colour", "lexical.threshold", "got 2", "generation.max_in_flight", "got 0", "'tools'", "'samples'"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[lexcal]\nthreshold = 0.9", "lexcal: unknown key or section 'lexcal' (did you mean 'lexical'?"),
        ("[lexical]\ntreshold = 0.9", "lexical.treshold: unknown key 'treshold' (did you mean 'threshold'?"),
        ("[datasets.tools]\nsample = 2", "datasets.tools.sample: unknown key 'sample' (did you mean 'samples'?"),
        ("[semantic]\nngram = 2", "semantic.ngram: unknown key 'ngram' here; it is a key of [lexical]"),
    ],
)
def test_an_unknown_key_comes_with_the_nearest_valid_one(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert hint in str(caught.value)


def test_unknown_variables_are_named_with_the_nearest_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAHUB_CACHE", "/tmp/cache")
    check_variables()
    monkeypatch.setenv("PERSONAHUB_LLM_KEY", "s3cret")
    monkeypatch.setenv("PERSONAHUB_HOMES", "x")
    with pytest.raises(ConfigError) as caught:
        check_variables()
    assert "'PERSONAHUB_HOMES' (did you mean 'PERSONAHUB_HOME'?" in str(caught.value)
    assert "'PERSONAHUB_LLM_KEY' (did you mean 'PERSONAHUB_LLM_API_KEY'?" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[lexical]\nthreshold = 0.49",
        "[semantic]\nthreshold = 1.01",
        "[sources]\nrows_per_batch = 0",
        "[text_personas]\nper_document = 9",
        "[text_personas]\ngranularity = 'medium'",
        "[related_personas]\nhops = 7",
        "[related_personas]\nfan_out = 0",
        "[datasets.tools]\nshare = 1.5",
        "[datasets.tools]\nsamples = 0",
        "[datasets.math_problems.controls]\ntopic = []",
        "[datasets.reasoning_problems.targets]\nkind = {}",
        "[generation]\ntimeout_s = 0",
        "[generation]\nvalidation_retries = -1",
        "[generation]\nmode = 'xml'",
        "[generation]\nlongest_wait = -1",
        "[generation]\nsystematic_faults = -1",
        "[generation]\nmin_p = 1.5",
        "[generation]\nstop = 'END'",
        "[generation]\nextra_body = {stream = true}",
        "[generation]\nextra_body = {day = 2024-01-01}",
        "[generation]\nextra_body = {share = nan}",
        "[generation]\nchat_template_kwargs = {day = 2024-01-01}",
        "[generation]\nomit = ['messages']",
        "[generation]\nheaders = {Host = 'x'}",
        "[text_personas]\nmax_tokens = 2_000_000",
        "[warehouse]\nnative_rows = -1",
        "lexical = 0.9",
        "[lexical]\nthreshold = 'high'",
    ],
)
def test_bounds_are_kept(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"hub\.toml: \w+"):
        loaded(tmp_path, text)


def test_an_unknown_dataset_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hub\.toml: datasets.tolls: no dataset 'tolls' \(did you mean 'tools'\?"):
        loaded(tmp_path, "[datasets.tolls]\nsamples = 2")


@pytest.mark.parametrize("data", [b"[lexical", b"a = ", b"a = 1\na = 2", b"\xff\xfe", "[lexical]".encode("utf-16")])
def test_what_is_no_toml_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "hub.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"hub\.toml: not valid TOML"):
        HubConfig.load(tmp_path / "hub.toml")


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "LLM_URL", "LLM_MODEL", "LLM_API_KEY", "EMBED_URL", "EMBED_MODEL", "EMBED_API_KEY"):
        monkeypatch.setenv(f"PERSONAHUB_{name}", "")
    environment = Environment()
    assert environment.home == Path("hub")
    assert (environment.llm_url, environment.llm_model, environment.llm_api_key) == (None, None, None)
    assert environment.embed_model == "all-MiniLM-L6-v2"


def test_variables_are_read_and_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAHUB_LLM_URL", "http://127.0.0.1:8000/v1")
    monkeypatch.setenv("PERSONAHUB_LLM_API_KEY", "s3cret")
    monkeypatch.setenv("PERSONAHUB_SOMETHING_ELSE", "ignored")
    environment = Environment()
    assert environment.llm_url == "http://127.0.0.1:8000/v1"
    assert environment.llm_api_key is not None
    assert environment.llm_api_key.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(environment) + str(environment.model_dump())


@pytest.mark.parametrize(
    ("url", "model", "name"),
    [("standin:", None, "standin"), ("standin:", "m", "standin"), ("http://x/v1", "m", "m"), (None, None, "default")],
)
def test_the_name_of_the_model(url: str | None, model: str | None, name: str) -> None:
    assert Environment(llm_url=url, llm_model=model).model_name == name


def test_parameters_of_some_servers_are_set_for_all_and_for_one(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
        [generation]
        top_k = 20
        chat_template_kwargs = {enable_thinking = false}
        [datasets.tools]
        top_k = 5
        stop = ["END"]
        max_tokens = 100_000
        """,
    )
    assert config.generation.options == {"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}}
    assert config.dataset("tools").sampling() == {"max_tokens": 100_000, "top_k": 5, "stop": ["END"]}
    assert config.dataset("game_npcs").sampling() == {}


def test_a_preset_gives_defaults_that_hub_toml_overrides(tmp_path: Path) -> None:
    assert loaded(tmp_path, '[generation]\nserver = "deepseek"').generation.mode == "json_object"
    assert loaded(tmp_path, '[generation]\nserver = "deepseek"\nmode = "tools"').generation.mode == "tools"
    reasoning = loaded(tmp_path, '[generation]\nserver = "openai-reasoning"\nomit = ["top_p"]').generation
    assert (reasoning.omit, reasoning.rename) == (["top_p"], {"max_tokens": "max_completion_tokens"})
    azure = loaded(tmp_path, '[generation]\nserver = "azure"\nheaders = {X-Team = "a"}').generation
    assert azure.headers.keys() == {"api-key", "X-Team"}


def test_an_unknown_preset_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"generation\.server: .*'gemni' \(did you mean 'gemini'\? valid: vllm, .*azure"
    ):
        loaded(tmp_path, '[generation]\nserver = "gemni"')


@pytest.mark.parametrize(
    "text",
    [
        "headers = 'CANARY'",
        "headers = ['CANARY']",
        "headers = {X-Key = ['CANARY']}",
        "headers = {'X-Key: CANARY' = ''}",
        "headers = {Host = 'CANARY'}",
        "headers = {X-Key = 'CANARY'}\nmode = 'xml'",
    ],
)
def test_the_value_of_a_header_is_never_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"[generation]\n{text}")
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


def test_headers_are_not_part_of_what_is_printed(tmp_path: Path) -> None:
    config = loaded(tmp_path, "[generation]\nheaders = {X-Key = 'CANARY'}")
    assert config.generation.headers["X-Key"].get_secret_value() == "CANARY"
    assert "CANARY" not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
